//! The one table printer: columns as wide as their widest cell, three spaces between them, nothing at the end of a line.

use std::io::{self, Write};

/// Rows under a head.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with a head and no rows.
    pub(super) fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned)] }
    }

    /// One more row; an empty cell is shown as `-`, so that columns stay countable for `awk`.
    pub(super) fn row(&mut self, cells: [&str; N]) {
        self.rows.push(cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { printable(cell) }));
    }

    /// Writes all of it.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(out, "{}", padded.collect::<Vec<_>>().join("   ").trim_end())?;
        }
        Ok(())
    }
}

/// Proxies choose some of what is shown: a control character would reach the operator's terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
