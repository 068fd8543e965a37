//! How a failure that ends the program is told to whoever started it.

use std::error::Error;
use std::fmt::Write;

/// The failure, and below it what it was caused by, each on a line of its own.
pub fn told(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("entrepot: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  because {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn every_cause_has_its_line() {
        let error = Outer(std::io::Error::other("the disk is gone"));
        assert_eq!(told(&error), "entrepot: cannot start\n  because the disk is gone\n");
    }
}
