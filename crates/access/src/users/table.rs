//! The users file as a table.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::UsersError;
use super::hash::Hash;
use super::text::{Line, lines};
use crate::limits::{USERS_FILE_BYTES_MAX, USERS_MAX};
use crate::principal::UserName;

/// Users with the hashes of their passwords.
#[derive(Debug, Default)]
pub(super) struct Table {
    users: HashMap<UserName, Arc<Hash>>,
    /// The same hashes in the order of the file.
    order: Vec<Arc<Hash>>,
    /// Known to whoever knows all hashes.
    secret: [u8; 32],
}

impl Table {
    /// Reads a users file; the first line that cannot be used is the error.
    pub(super) fn parse(text: &str) -> Result<Self, UsersError> {
        check_size(text)?;
        let mut table = Self::default();
        let mut first_lines: HashMap<UserName, usize> = HashMap::new();
        for Line { number, name, hash } in lines(text) {
            let refused = |problem| UsersError { line: number, problem };
            let name = name.map_err(refused)?;
            let hash = Arc::new(hash.map_err(refused)?);
            if let Some(first) = first_lines.insert(name.clone(), number) {
                return Err(refused(format!("is about {name}, as line {first} is already: remove one of them")));
            }
            if table.order.len() == USERS_MAX {
                return Err(refused(format!("has one user more than the {USERS_MAX} that a users file may have")));
            }
            table.order.push(Arc::clone(&hash));
            table.users.insert(name, hash);
        }
        let mut digest = Sha256::new();
        for hash in &table.order {
            digest.update(hash.as_bytes());
            digest.update(b"\n");
        }
        table.secret = digest.finalize().into();
        Ok(table)
    }

    /// How many users there are.
    pub(super) const fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn hash(&self, name: &UserName) -> Option<&Arc<Hash>> {
        self.users.get(name)
    }

    /// The hash that is computed for somebody who is not here: always the same one for the same name, and which one, nobody can tell
    /// who has not read the file. So users with dear hashes are as frequent among those who do not exist as among those who do, and
    /// neither one answer's time nor the comparison of many tells who exists.
    pub(super) fn decoy(&self, name: &str) -> Option<&Arc<Hash>> {
        let digest = Sha256::new().chain_update(self.secret).chain_update(name.as_bytes()).finalize();
        let (first, _) = digest.split_first_chunk::<4>()?;
        let index = usize::try_from(u32::from_be_bytes(*first)).ok()?.checked_rem(self.order.len())?;
        self.order.get(index)
    }
}

fn check_size(text: &str) -> Result<(), UsersError> {
    if text.len() <= USERS_FILE_BYTES_MAX {
        return Ok(());
    }
    let line = 1 + text.bytes().take(USERS_FILE_BYTES_MAX).filter(|byte| *byte == b'\n').count();
    let problem = format!("is beyond the {} MiB that a users file may have", USERS_FILE_BYTES_MAX >> 20);
    Err(UsersError { line, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    const ARGON2ID: &str = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    #[test]
    fn a12_comments_empty_lines_and_the_line_ends_of_windows_are_fine() {
        let text = format!("# who may\n\nalice:{BCRYPT}\r\n   \r\n  # more\nbob@example.org:{ARGON2ID}");
        let table = Table::parse(&text).unwrap();
        assert_eq!(table.len(), 2);
        assert!(table.hash(&"bob@example.org".parse().unwrap()).is_some());
        assert_eq!(Table::parse("").unwrap().len(), 0);
    }

    #[test]
    fn a12_a_bad_line_is_told_by_its_number_and_never_repeated() {
        let cut = &BCRYPT[..59];
        let rows = [
            (format!("alice:{BCRYPT}\nbob"), 2, "no ':'"),
            (format!(":{BCRYPT}"), 1, "name"),
            (format!("system:{BCRYPT}"), 1, "reserved"),
            (format!("al ice:{BCRYPT}"), 1, "name"),
            (format!("ålice:{BCRYPT}"), 1, "name"),
            (format!("{BCRYPT}:alice"), 1, "name"),
            (format!("# c\nalice:{BCRYPT}\n\nalice:{ARGON2ID}"), 4, "alice, as line 2"),
            (format!("alice:{cut}"), 1, "cut off"),
            (format!("alice:{cut}é"), 1, "cut off"),
            (format!("alice:{}é", &BCRYPT[..58]), 1, "cut off"),
            (format!("alice:{BCRYPT} "), 1, "cut off"),
            (format!("alice:{BCRYPT}:1000"), 1, "cut off"),
            (format!("alice:{}", BCRYPT.replace("$05$", "$15$")), 1, "cost 15"),
            (format!("alice:{}", BCRYPT.replace("$05$", "$03$")), 1, "cost 3"),
            (format!("alice:{}", BCRYPT.replace("$05$", "$+5$")), 1, "cut off"),
            (format!("alice:{}", BCRYPT.replace("E5YP", "E5,P")), 1, "character"),
            (format!("alice:{}", BCRYPT.replace("$2y$", "$2z$")), 1, "neither"),
            ("alice:".to_owned(), 1, "nothing"),
            ("alice:$apr1$oXC6VbNB$sWPyFVCIfFPSxP6sDc8XD.".to_owned(), 1, "$apr1$"),
            ("alice:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=".to_owned(), 1, "{SHA}"),
            ("alice:$6$rounds=5000$abc$defghi".to_owned(), 1, "crypt"),
            ("alice:rl.3StKT.4T8M".to_owned(), 1, "crypt"),
            ("alice:correct horse".to_owned(), 1, "the password itself"),
            (format!("alice:{}", ARGON2ID.replace("2id$", "2i$")), 1, "variant"),
            (format!("alice:{}", &ARGON2ID[..40]), 1, "cut off"),
            (format!("alice:{ARGON2ID}é"), 1, "cut off"),
            (format!("alice:{}", ARGON2ID.replace("v=19$", "")), 1, "cut off"),
            (format!("alice:{}", ARGON2ID.replace("v=19$", "v=16$")), 1, "cut off"),
            (format!("alice:{}", ARGON2ID.replace("p=1", "p=1,keyid=aaaa")), 1, "cut off"),
            (format!("alice:{}", ARGON2ID.replace("m=65536", "m=4194304")), 1, "memory"),
            (format!("alice:{}", ARGON2ID.replace("m=65536", "m=8")), 1, "memory"),
            (format!("alice:{}", ARGON2ID.replace("t=2", "t=4000000000")), 1, "passes"),
            (format!("alice:{}", ARGON2ID.replace("p=1", "p=200")), 1, "lanes"),
        ];
        for (text, line, word) in rows {
            let error = Table::parse(&text).map(|table| table.len()).expect_err(&text);
            let told = error.to_string();
            assert_eq!(error.line, line, "{text}: {told}");
            assert!(told.contains(word), "{text}: {told}");
            for secret in ["CCCC", "c29t", "sWPy", "VBPu", "defg", "rl.3", "horse", "åli"] {
                assert!(!told.contains(secret), "{text}: {told}");
            }
        }
    }

    #[test]
    fn a_file_has_a_size_and_a_number_of_users_at_most() {
        let users = |count: usize| {
            let lines: Vec<_> = (0..count).map(|index| format!("u{index}:{BCRYPT}\n")).collect();
            lines.concat()
        };
        assert_eq!(Table::parse(&users(USERS_MAX)).unwrap().len(), USERS_MAX);
        assert_eq!(Table::parse(&users(USERS_MAX + 1)).unwrap_err().line, USERS_MAX + 1);
        let comment = "#".repeat(USERS_FILE_BYTES_MAX - 1) + "\n";
        assert_eq!(Table::parse(&comment).unwrap().len(), 0);
        assert_eq!(Table::parse(&(comment + "#")).unwrap_err().line, 2);
    }

    #[test]
    fn a9_who_does_not_exist_costs_what_one_of_those_who_do_costs() {
        let lines: Vec<_> = (0..20).map(|index| format!("d{index}:{ARGON2ID}\nc{index}:{BCRYPT}\n")).collect();
        let table = Table::parse(&lines.concat()).unwrap();
        let dear = |name: &str| table.decoy(name).unwrap().kind() == super::super::hash::HashKind::Argon2id;
        let count = (0..400).filter(|index| dear(&format!("nobody{index}"))).count();
        assert!((120..280).contains(&count), "half of them are dear, as in the file: {count}");
        assert_eq!(dear("mallory"), dear("mallory"));
        assert!(Table::default().decoy("mallory").is_none());
    }
}
