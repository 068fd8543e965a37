//! Columns that are aligned.

/// Rows of as many texts as there are headings, as lines. Only columns before the last are filled up.
pub(crate) fn table<const COLUMNS: usize>(headings: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&headings.map(str::to_owned), widths);
    for row in rows {
        text.push_str(&line(row, widths));
    }
    text
}

fn line<const COLUMNS: usize>(cells: &[String; COLUMNS], widths: [usize; COLUMNS]) -> String {
    let filled: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{}\n", filled.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_as_wide_as_its_widest_cell() {
        let rows =
            [["a".to_owned(), "long…".to_owned(), "x".to_owned()], ["bbb".to_owned(), String::new(), String::new()]];
        let expected = "NAME  N      Z\na     long…  x\nbbb\n";
        assert_eq!(table(["NAME", "N", "Z"], &rows), expected);
    }
}
