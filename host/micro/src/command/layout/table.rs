//! Columns that line up, without spaces at the ends of lines.

/// Between two columns.
const GAP: usize = 2;
/// What an empty cell shows.
const EMPTY: &str = "n/a";

/// A table with a heading. Columns are as wide as their widest cell.
pub fn columns<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(width);
    for row in rows {
        for (width_so_far, cell) in widths.iter_mut().zip(row) {
            *width_so_far = (*width_so_far).max(width(shown(cell)));
        }
    }
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (cell, width_of_column) in cells.iter().zip(widths) {
            text.push_str(cell);
            text.push_str(&" ".repeat(width_of_column - width(cell) + GAP));
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![line(heading.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(|cell| shown(cell)).collect())));
    lines.join("\n")
}

/// Names and values in two columns; a value of several lines stays in its column.
pub fn pairs(rows: &[(&str, String)]) -> String {
    let widest = rows.iter().map(|(name, _)| width(name)).max().unwrap_or_default() + GAP;
    let mut lines = Vec::new();
    for (name, value) in rows {
        let mut label = *name;
        for line in shown(value).lines() {
            let space = " ".repeat(widest - width(label));
            lines.push(format!("{label}{space}{line}").trim_end().to_owned());
            label = "";
        }
    }
    lines.join("\n")
}

/// One item on a line, or the word for none.
pub fn list(items: &[String]) -> String {
    if items.is_empty() { "none".into() } else { items.join("\n") }
}

/// Every line moved to the right.
pub fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn shown(cell: &str) -> &str {
    if cell.is_empty() { EMPTY } else { cell }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "größer".to_owned()], ["long name".to_owned(), String::new()]];
        assert_eq!(columns(["NAME", "X"], &rows), "NAME       X\na          größer\nlong name  n/a");
        assert_eq!(columns(["NAME", "X"], &[]), "NAME  X");
    }

    #[test]
    fn values_stay_in_their_column() {
        let rows = [("a", "one\ntwo".to_owned()), ("long", String::new())];
        assert_eq!(pairs(&rows), "a     one\n      two\nlong  n/a");
    }
}
