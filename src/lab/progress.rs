//! What the lab says while it works: one line a step, a mark for what was checked, and at the end what failed.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// Prints steps and collects failures.
pub struct Progress {
    out: Box<dyn Write + Send>,
    colour: bool,
    failures: Vec<String>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("colour", &self.colour)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

const GREEN: &str = "32";
const RED: &str = "31";
const BOLD: &str = "1";
const FAINT: &str = "2";

impl Progress {
    /// On standard output; in colour on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    pub fn stdout() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let stdout = std::io::stdout();
        let colour = stdout.is_terminal() && !plain;
        Self { out: Box::new(stdout), colour, failures: Vec::new() }
    }

    /// To `out`, without colour.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), colour: false, failures: Vec::new() }
    }

    /// A heading.
    pub fn section(&mut self, title: impl Display) {
        let title = self.paint(BOLD, title);
        self.line(format_args!("\n{title}"));
    }

    /// Something done, or checked and found right.
    pub fn ok(&mut self, text: impl Display) {
        let mark = self.paint(GREEN, "✓");
        self.line(format_args!("  {mark} {text}"));
    }

    /// Something checked and found wrong. The lab goes on, and fails at its end.
    pub fn fail(&mut self, text: impl Display, reason: impl Display) {
        let mark = self.paint(RED, "✗");
        self.line(format_args!("  {mark} {text}"));
        for line in reason.to_string().lines() {
            let line = self.paint(FAINT, line);
            self.line(format_args!("      {line}"));
        }
        self.failures.push(format!("{text}: {reason}"));
    }

    /// `ok` or `fail`.
    pub fn check<T: Display, E: Display>(&mut self, text: impl Display, result: Result<T, E>) {
        match result {
            Ok(seen) => {
                let seen = self.paint(FAINT, format_args!("({seen})"));
                self.ok(format_args!("{text} {seen}"));
            }
            Err(reason) => self.fail(text, reason),
        }
    }

    /// A measured value.
    pub fn value(&mut self, name: impl Display, value: impl Display) {
        let value = self.paint(BOLD, value);
        self.line(format_args!("    {name:<34} {value}"));
    }

    /// A line as it is.
    pub fn note(&mut self, text: impl Display) {
        self.line(format_args!("    {text}"));
    }

    /// What failed.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }

    /// A reader that went away (`| head`) must not end the lab half-way.
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }
}
