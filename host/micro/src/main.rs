//! The binary: everything it does is in the library.

use libmimalloc_sys::{
    mi_collect, mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};
use std::alloc::{GlobalAlloc, Layout};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Mimalloc = Mimalloc;

/// A call makes and drops some fifty small things on whichever thread serves it, which is what this allocator is for.
struct Mimalloc;

/// Whether any block of this size is aligned well enough, as C wants it of its `malloc`. To ask for an alignment takes
/// longer and more room.
fn is_plain(size: usize, align: usize) -> bool {
    align <= 16 && align <= size
}

// SAFETY: all blocks come from mimalloc and go back to it. It gives those of `malloc` the alignment that `is_plain` counts
// on, and all others the one that is asked for; where it has no room it gives null.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_plain(layout.size(), layout.align()) {
            // SAFETY: any size may be asked for.
            return unsafe { mi_malloc(layout.size()) }.cast();
        }
        // SAFETY: the alignment of a layout is a power of two.
        unsafe { mi_malloc_aligned(layout.size(), layout.align()) }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_plain(layout.size(), layout.align()) {
            // SAFETY: any size may be asked for.
            return unsafe { mi_zalloc(layout.size()) }.cast();
        }
        // SAFETY: the alignment of a layout is a power of two.
        unsafe { mi_zalloc_aligned(layout.size(), layout.align()) }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the block came from here, and is given back once.
        unsafe { mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_plain(size, layout.align()) {
            // SAFETY: the block came from here, and only what this gives is used from now on.
            return unsafe { mi_realloc(block.cast(), size) }.cast();
        }
        // SAFETY: the same, and the alignment of a layout is a power of two.
        unsafe { mi_realloc_aligned(block.cast(), size, layout.align()) }.cast()
    }
}

/// Gives what this thread has freed back to the system. Blocks that other threads have freed stay with the thread that made
/// them until then: a host that was busy once would keep for ever what it took.
fn give_back() {
    // SAFETY: any thread may do that at any time.
    unsafe { mi_collect(true) }
}

fn main() -> ExitCode {
    micro::command::run(give_back)
}
