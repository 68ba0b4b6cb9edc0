//! Where parsing puts what it finds: every error and every warning, not only the first.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::document::Position;
use super::{Origin, PolicyError, Topic, Warning};

/// More errors than this in one file are not worth listing; they are counted.
const MAX_ERRORS: usize = 100;

/// The findings in one file.
pub(super) struct Report {
    /// The file they are in.
    pub(super) file: Arc<str>,
    errors: RefCell<Vec<PolicyError>>,
    warnings: RefCell<Vec<Warning>>,
    left_out: Cell<usize>,
}

impl Report {
    pub(super) fn new(file: Arc<str>) -> Self {
        Self { file, errors: RefCell::default(), warnings: RefCell::default(), left_out: Cell::new(0) }
    }

    pub(super) fn origin(&self, at: Position) -> Origin {
        at.in_file(&self.file)
    }

    /// Counts an error instead of listing it, when there are enough; looking for the right words for each of a million
    /// mistakes would take longer than finding them.
    pub(super) fn skip(&self) -> bool {
        let full = self.errors.borrow().len() >= MAX_ERRORS;
        if full {
            self.left_out.set(self.left_out.get() + 1);
        }
        full
    }

    pub(super) fn push(&self, error: PolicyError) {
        if !self.skip() {
            self.errors.borrow_mut().push(error);
        }
    }

    /// Whether something is wrong with this field, or below it.
    pub(super) fn has_error_of(&self, field: &str) -> bool {
        self.errors.borrow().iter().any(|error| error.field.starts_with(field))
    }

    pub(super) fn error(&self, at: &Origin, field: &str, message: impl Into<String>) {
        self.push(PolicyError::new(at.clone(), field, message));
    }

    pub(super) fn error_with_help(&self, at: &Origin, field: &str, message: impl Into<String>, help: &str) {
        self.push(PolicyError::new(at.clone(), field, message).with_help(help));
    }

    pub(super) fn warn(&self, at: &Origin, message: impl Into<String>) {
        self.warnings.borrow_mut().push(Warning::new(at.clone(), message));
    }

    pub(super) fn warn_of(&self, topic: Topic, at: &Origin, message: impl Into<String>) {
        self.warnings.borrow_mut().push(Warning { topic, ..Warning::new(at.clone(), message) });
    }

    pub(super) fn into_parts(self) -> (Vec<PolicyError>, Vec<Warning>) {
        let mut errors = self.errors.into_inner();
        if self.left_out.get() > 0 {
            let message = format!("{} more errors in this file", self.left_out.get());
            let at = errors.last().map_or_else(|| Origin::new(self.file, 1, 1), |error| error.at.clone());
            errors.push(PolicyError::new(at, "", message));
        }
        (errors, self.warnings.into_inner())
    }
}
