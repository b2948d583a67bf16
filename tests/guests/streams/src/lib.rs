//! Streams both ways, by the WIT of its own: a sum of what is sent, an echo of it, and what becomes of a dropped stream.

use micro::wit_bindgen;

wit_bindgen::generate!({ runtime_path: "micro::wit_bindgen::rt" });

use exports::test::streams::ways::{Adder, Echo, Guest, GuestAdder, GuestEcho, GuestTicks, Ticks};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};

static DROPPED: AtomicU32 = AtomicU32::new(0);

struct Ways;

struct Sum(Cell<u64>);

impl GuestAdder for Sum {
    fn send(&self, item: u32) -> Result<(), String> {
        if item == 13 {
            return Err("thirteen is not added".to_owned());
        }
        self.0.set(self.0.get() + u64::from(item));
        Ok(())
    }

    fn finish(&self) -> u64 {
        println!("the sum was finished");
        self.0.get()
    }
}

impl Drop for Sum {
    fn drop(&mut self) {
        println!("the sum was dropped");
    }
}

struct Words(RefCell<Vec<String>>);

impl GuestEcho for Words {
    fn send(&self, item: String) {
        let mut words = self.0.borrow_mut();
        if item == "twice" {
            words.push(item.clone());
        }
        words.push(item);
    }

    fn next(&self) -> Option<String> {
        let mut words = self.0.borrow_mut();
        (!words.is_empty()).then(|| words.remove(0))
    }
}

struct Clock(Cell<u32>);

impl GuestTicks for Clock {
    fn next(&self) -> Result<Option<u32>, String> {
        let tick = self.0.get();
        self.0.set(tick + 1);
        match tick {
            3_000_000_000 => Err("the clock is worn out".to_owned()),
            _ => Ok(Some(tick)),
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        println!("the clock was dropped");
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

impl Guest for Ways {
    type Adder = Sum;
    type Echo = Words;
    type Ticks = Clock;

    fn add(start: u64) -> Adder {
        Adder::new(Sum(Cell::new(start)))
    }

    fn talk() -> Echo {
        Echo::new(Words(RefCell::new(vec!["hello".to_owned()])))
    }

    fn tick(from: u32) -> Result<Ticks, String> {
        match from {
            666 => Err("not from there".to_owned()),
            from => Ok(Ticks::new(Clock(Cell::new(from)))),
        }
    }

    fn dropped() -> u32 {
        DROPPED.load(Ordering::Relaxed)
    }
}

export!(Ways);
