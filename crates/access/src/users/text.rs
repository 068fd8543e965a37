//! The lines of a users file: read one by one, and changed without touching the others.

use super::hash::{Hash, HashKind};
use crate::principal::UserName;

/// A line that is neither empty nor a comment.
pub(super) struct Line {
    /// From 1 on.
    pub(super) number: usize,
    /// The name before the colon, or what is wrong with it.
    pub(super) name: Result<UserName, String>,
    /// The hash behind the colon, or what is wrong with it.
    pub(super) hash: Result<Hash, String>,
}

/// The lines of a users file that are about somebody.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line> {
    text.split('\n').enumerate().filter(|(_, line)| !is_remark(line)).map(|(index, line)| read(index + 1, line))
}

fn is_remark(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn read(number: usize, line: &str) -> Line {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let Some((name, hash)) = line.split_once(':') else {
        let problem = "has no ':' between a name and a hash";
        return Line { number, name: Err(problem.to_owned()), hash: Err(problem.to_owned()) };
    };
    // A name that cannot be one may be a hash that stands in the wrong place: it is not repeated.
    let name: Result<UserName, _> = name.parse().map_err(|_| {
        "begins with what cannot be a user's name: 1 to 255 letters, digits, '.', '_', '-', '@' or '+', beginning with a letter or \
         digit, and none that is reserved such as anonymous or system"
            .to_owned()
    });
    let hash = Hash::parse(hash).map_err(|problem| match &name {
        Ok(name) => format!("has for {name} {problem}: `entrepot user passwd {name}` sets a new password"),
        Err(_) => format!("has {problem}"),
    });
    Line { number, name, hash }
}

/// A user as a users file lists him, whether the rest of the file can be used or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUser {
    /// The name.
    pub name: UserName,
    /// How his password is hashed, or what is wrong with what stands for it.
    pub hash: Result<HashKind, String>,
}

/// The text of a users file that is to be changed. Lines that are about somebody else stay as they are, also where they are wrong.
#[derive(Clone)]
pub struct UsersText(String);

impl UsersText {
    /// A text as it was read.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text as it is to be written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The users in the order of the file.
    pub fn users(&self) -> Vec<ListedUser> {
        let listed = |line: Line| Some(ListedUser { name: line.name.ok()?, hash: line.hash.map(|hash| hash.kind()) });
        lines(&self.0).filter_map(listed).collect()
    }

    /// Whether a line is about the user.
    pub fn contains(&self, name: &UserName) -> bool {
        self.0.split('\n').any(|line| is_about(line, name))
    }

    /// Gives the user this hash: in his line, or in a new one at the end. More lines about him go.
    pub fn set(&mut self, name: &UserName, hash: &str) {
        let mut is_set = false;
        self.change(|line| {
            if !is_about(line, name) {
                return Some(line.to_owned());
            }
            let line_end = if line.ends_with('\r') { "\r" } else { "" };
            (!std::mem::replace(&mut is_set, true)).then(|| format!("{name}:{hash}{line_end}"))
        });
        if !is_set {
            if !self.0.is_empty() && !self.0.ends_with('\n') {
                self.0.push('\n');
            }
            self.0.extend([name.as_str(), ":", hash, "\n"]);
        }
    }

    /// Removes what is about the user; `false` when nothing was.
    pub fn remove(&mut self, name: &UserName) -> bool {
        let mut was_there = false;
        self.change(|line| {
            let is_his = is_about(line, name);
            was_there |= is_his;
            (!is_his).then(|| line.to_owned())
        });
        was_there
    }

    fn change(&mut self, line: impl FnMut(&str) -> Option<String>) {
        self.0 = self.0.split('\n').filter_map(line).collect::<Vec<_>>().join("\n");
    }
}

fn is_about(line: &str, name: &UserName) -> bool {
    !is_remark(line) && line.split_once(':').is_some_and(|(first, _)| first == name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    #[test]
    fn one_line_changes_and_all_others_stay_where_and_what_they_are() {
        let before = "# team\r\nalice:old\r\n\n#bob:x\nbob:$apr1$y\nnonsense\ncarol:z";
        let mut text = UsersText::new(before.to_owned());
        text.set(&name("bob"), "B");
        assert_eq!(text.as_str(), "# team\r\nalice:old\r\n\n#bob:x\nbob:B\nnonsense\ncarol:z");
        text.set(&name("alice"), "A");
        text.set(&name("dave"), "D");
        assert_eq!(text.as_str(), "# team\r\nalice:A\r\n\n#bob:x\nbob:B\nnonsense\ncarol:z\ndave:D\n");
        assert!(text.remove(&name("carol")) && !text.remove(&name("carol")));
        assert!(text.contains(&name("dave")) && !text.contains(&name("carol")));
        assert_eq!(text.as_str(), "# team\r\nalice:A\r\n\n#bob:x\nbob:B\nnonsense\ndave:D\n");
    }

    #[test]
    fn a_second_line_about_a_user_goes_when_he_gets_a_password() {
        let mut text = UsersText::new("a:1\nb:2\na:3\n".to_owned());
        text.set(&name("a"), "4");
        assert_eq!(text.as_str(), "a:4\nb:2\n");
        let mut text = UsersText::new(String::new());
        text.set(&name("a"), "4");
        assert_eq!(text.as_str(), "a:4\n");
    }

    #[test]
    fn users_are_listed_with_what_is_wrong_with_them() {
        let text = UsersText::new("a:$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n\nb:x\n".to_owned());
        let users = text.users();
        assert_eq!((users[0].name.as_str(), &users[0].hash), ("a", &Ok(HashKind::Bcrypt)));
        assert!(users[1].hash.as_ref().unwrap_err().contains("entrepot user passwd b"), "{users:?}");
    }
}
