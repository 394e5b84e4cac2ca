//! The hot path does not allocate.

mod support;
use fedgate_core::{Reason, Table, admit, judge};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::realistic::{Names, builder, services};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts this thread's allocations; the test harness has threads of its own.
struct Counting;

// SAFETY: every call is forwarded unchanged to the system allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn a_decision_allocates_nothing() {
    let table = Table::read(builder(Names::Words, 5_000).build(1).unwrap()).unwrap();
    let names: Vec<String> =
        services(Names::Words, 5_000).iter().map(|service| service.sni()).collect();
    let identities: Vec<String> = (0..60)
        .map(|peer| format!("spiffe://cluster-{peer}.example/ns/orders-1/sa/payment"))
        .collect();
    let mut reasons = std::collections::BTreeSet::new();
    let count = allocations(|| {
        for (name, identity) in names.iter().zip(identities.iter().cycle()) {
            let admission = admit(&table, Some(name)).unwrap();
            judge(&table, admission.export(), Some(identity));
        }
        for name in
            ["", "web", "outbound_.80_._.web.shop.svc.beta.example", "outbound_.80_._.web..shop"]
        {
            admit(&table, Some(name)).unwrap_err();
        }
        let export = admit(&table, Some(&names[0])).unwrap().export();
        for identity in ["", "web", "spiffe://unknown.example/web"] {
            judge(&table, export, Some(identity));
        }
    });
    assert_eq!(count, 0);
    for (name, identity) in names.iter().zip(identities.iter().cycle()) {
        reasons.insert(
            judge(&table, admit(&table, Some(name)).unwrap().export(), Some(identity)).reason,
        );
    }
    let all = [Reason::UnknownPeer, Reason::NotGranted, Reason::CallerNotGranted, Reason::Granted];
    assert_eq!(reasons, all.into(), "the decisions above were of every kind");
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
    let table = Table::read(builder(Names::Words, 10).build(1).unwrap()).unwrap();
    let upper =
        allocations(|| drop(admit(&table, Some("outbound_.80_._.WEB.shop.svc.beta.example"))));
    assert_eq!(upper, 1, "only a host in upper case is copied");
}
