use super::*;
use std::sync::MutexGuard;

/// Holds the number of threads for one test.
fn with(threads: usize) -> MutexGuard<'static, ()> {
    static HELD: Mutex<()> = Mutex::new(());
    let held = HELD.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    set_threads(threads);
    held
}

fn counts(items: usize) -> Vec<usize> {
    let counts: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
    run(items, &|item| {
        counts[item].fetch_add(1, Relaxed);
    });
    counts.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn every_item_runs_once_whatever_the_threads() {
    for threads in [1, 2, 3, 7] {
        let _held = with(threads);
        for round in 0..300 {
            let items = round % 40;
            assert_eq!(counts(items), vec![1; items]);
        }
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_workers_survive() {
    let _held = with(3);
    for _ in 0..20 {
        let caught = catch_unwind(|| run(50, &|item| assert!(item != 17, "item seventeen")));
        assert_eq!(*caught.unwrap_err().downcast_ref::<&str>().unwrap(), "item seventeen");
        assert_eq!(counts(64), vec![1; 64]);
    }
}

#[test]
fn nested_and_concurrent_use_runs_inline() {
    let _held = with(4);
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                run(8, &|_| {
                    run(8, &|_| {
                        total.fetch_add(1, Relaxed);
                    })
                })
            });
        }
    });
    assert_eq!(total.into_inner(), 4 * 64);
}

#[test]
fn parked_workers_wake_for_a_job_and_more_threads_than_cores_are_fine() {
    let _held = with(7);
    set_oversubscribed(true);
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert_eq!(counts(30), vec![1; 30]);
    }
    set_oversubscribed(false);
}
