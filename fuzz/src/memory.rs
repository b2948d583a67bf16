//! Memory that has an end, so that an input that makes the host take too much of it is a finding like a panic.
//!
//! libFuzzer only looks at the whole process now and then; here each allocation is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all of a target may hold at once, in bytes. Inputs are of kilobytes, and the seeds beside them of some megabytes.
const MAX_HELD: usize = 512 * 1024 * 1024;

struct Counting {
    held: AtomicUsize,
}

#[global_allocator]
static MEMORY: Counting = Counting { held: AtomicUsize::new(0) };

impl Counting {
    fn take(&self, size: usize) {
        if self.held.fetch_add(size, Ordering::Relaxed) + size > MAX_HELD {
            // A panic would allocate; this ends in libFuzzer, which keeps the input.
            std::process::abort();
        }
    }
}

// SAFETY: the system's allocator, asked as we are asked.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: the caller keeps what both promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.take(size);
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
