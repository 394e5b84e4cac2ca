//! An allocator that counts. A program uses it with `#[global_allocator]`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Counts this thread's allocations; a test harness has threads of its own.
pub struct CountingAllocator;

// SAFETY: every call is forwarded unchanged to the system allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What a piece of work allocates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocated {
    pub allocations: usize,
    pub bytes: usize,
}

impl Allocated {
    /// Runs the work on this thread and counts. Without the [`CountingAllocator`], both are 0.
    pub fn by(work: impl FnOnce()) -> Self {
        let before = (ALLOCATIONS.get(), BYTES.get());
        work();
        Self { allocations: ALLOCATIONS.get() - before.0, bytes: BYTES.get() - before.1 }
    }
}
