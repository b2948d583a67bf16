//! Where in a message the reader is, for its error texts.

use std::cell::RefCell;
use std::fmt;

/// The path from the message to the value being read. A failing reader leaves it where it stood.
#[derive(Default)]
pub(super) struct Place<'s> {
    steps: RefCell<Vec<Step<'s>>>,
}

enum Step<'s> {
    Field(&'s str),
    Key(String),
    Index(usize),
}

impl<'s> Place<'s> {
    pub(super) fn enter_field(&self, name: &'s str) {
        self.steps.borrow_mut().push(Step::Field(name));
    }

    pub(super) fn enter_key(&self, key: &str) {
        self.steps.borrow_mut().push(Step::Key(key.to_string()));
    }

    pub(super) fn enter_index(&self, index: usize) {
        self.steps.borrow_mut().push(Step::Index(index));
    }

    pub(super) fn leave(&self) {
        self.steps.borrow_mut().pop();
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.steps.borrow().iter().enumerate() {
            match step {
                Step::Field(name) if depth == 0 => write!(out, "{name}")?,
                Step::Field(name) => write!(out, ".{name}")?,
                Step::Key(key) => write!(out, "[{key:?}]")?,
                Step::Index(index) => write!(out, "[{index}]")?,
            }
        }
        Ok(())
    }
}
