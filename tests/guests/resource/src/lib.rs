//! Gives out a resource, which a host of functions has to refuse.

wit_bindgen::generate!();

use exports::test::resource::cabinet::{Drawer, Guest, GuestDrawer};

struct Cabinet;

/// A drawer holds its label.
struct Labelled(String);

impl GuestDrawer for Labelled {
    fn look(&self) -> String {
        self.0.clone()
    }
}

impl Guest for Cabinet {
    type Drawer = Labelled;

    fn open(label: String) -> Drawer {
        Drawer::new(Labelled(label))
    }
}

export!(Cabinet);
