//! Many things of a kind, several at a time.

use super::{Error, Result};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `work` for each item, on so many threads, this one among them; the answers in the items' order.
///
/// # Errors
/// The first one; nothing is begun after it.
pub(super) fn each<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<Error>> = Mutex::default();
    let done: Mutex<Vec<(usize, R)>> = Mutex::default();
    let run = || {
        while failure.lock().is_none() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            match work(item) {
                Ok(answer) => done.lock().push((at, answer)),
                Err(error) => drop(failure.lock().get_or_insert(error)),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.clamp(1, items.len().max(1)) {
            scope.spawn(run);
        }
        run();
    });
    if let Some(error) = failure.into_inner() {
        return Err(error);
    }
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, answer)| answer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_and_the_first_error_ends_it() {
        let items: Vec<usize> = (0..100).collect();
        for threads in [0, 1, 4, 1000] {
            let doubled = each(&items, threads, |item| Ok(item * 2)).unwrap();
            assert!(doubled.iter().enumerate().all(|(at, answer)| *answer == at * 2));
        }
        let begun = AtomicUsize::new(0);
        let failed = each(&items, 1, |item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *item == 3 { Err(Error::Stopped) } else { Ok(()) }
        });
        assert!(matches!(failed, Err(Error::Stopped)));
        assert_eq!(begun.into_inner(), 4);
        assert!(each(&[] as &[usize], 4, |_| Ok(())).unwrap().is_empty());
    }
}
