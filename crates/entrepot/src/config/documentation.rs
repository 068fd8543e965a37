//! The page of the documentation that lists every key, written from the table of them.

use std::fmt::Write as _;

use super::keys::{self, TABLES};

/// The page of the documentation that lists every key.
pub fn documentation() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         A file `configuration.toml` in the working folder, or the one that `--config FILE` names. This is a complete one:\n\n\
         ```toml\n\
         registry_storage = \"storage/registry\"\n\
         temporary_registry_storage = \"storage/_tmp\"\n\
         proxy_storage = \"storage/proxy\"\n\
         ```\n\n\
         Without any file the server starts on exactly these values and says so. Relative paths are relative to the folder of \
         the file, or to the working folder when there is none.\n\n\
         Durations are a number with `s`, `m`, `h` or `d`; sizes are a number of bytes, or one with `KiB`, `MiB`, `GiB`, `TiB`, \
         `KB`, `MB`, `GB` or `TB`. What is not listed here is refused at the start, with its file, line and column, and so is \
         what cannot be. `entrepot check` reads the configuration and prints what it comes to.\n",
    );
    for table in TABLES {
        let heading = match (table.path, table.is_list) {
            ("", _) => "Storage".to_owned(),
            (path, true) => format!("`[[{path}]]`"),
            (path, false) => format!("`[{path}]`"),
        };
        // Writing to a string cannot fail.
        let _ = write!(page, "\n## {heading}\n\n{}\n", table.meaning);
        for key in keys::keys().filter(|key| key.table() == table.path) {
            let _ = write!(
                page,
                "\n### `{}`\n\n{}\n\n- allowed: {}\n- default: {}\n- example: `{} = {}`\n",
                key.path,
                key.meaning,
                key.allowed,
                key.default,
                key.name(),
                key.example
            );
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_documentation_on_disk_is_the_one_that_the_table_gives() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let expected = documentation();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder of the documentation");
            std::fs::write(&path, &expected).expect("the page is written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "{} is out of date: run the tests with UPDATE_DOCS=1", path.display());
    }
}
