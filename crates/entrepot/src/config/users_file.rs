//! The file of the users with passwords, as far as it can be read without understanding a hash.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use entrepot_access::UserName;

use super::limits::USERS_FILE_BYTES_MAX;

/// The text of the users file; `None` when there is none.
///
/// # Errors
/// When it is there and cannot be read, or is far larger than any such file.
pub(crate) fn users_text(file: &Path) -> io::Result<Option<String>> {
    let file = match File::open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(USERS_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > USERS_FILE_BYTES_MAX {
        let message = format!("it is larger than {USERS_FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(Some(text))
}

/// The names in the users file, without their hashes; `None` when there is no such file.
pub(crate) fn user_names(file: &Path) -> io::Result<Option<Vec<UserName>>> {
    let name = |line: &str| line.split_once(':').and_then(|(name, _)| name.trim().parse().ok());
    Ok(users_text(file)?.map(|text| text.lines().filter_map(name).collect()))
}
