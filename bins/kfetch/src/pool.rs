//! Several things at the same time, results in the order of the list.

use std::{
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Do `work` on every one of `jobs`, at most `threads` at a time.
pub(crate) fn each<T: Sync, R: Send>(
    threads: usize,
    jobs: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(at) else { return done };
            done.push((at, work(job)));
        }
    };
    let mut results = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads.clamp(1, jobs.len().max(1))).map(|_| scope.spawn(worker)).collect();
        let mut results = Vec::with_capacity(jobs.len());
        for worker in workers {
            results.extend(worker.join().unwrap_or_else(|cause| panic::resume_unwind(cause)));
        }
        results
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    #[test]
    fn results_keep_their_order_and_work_overlaps() {
        let both = Barrier::new(2); // passes only when two are at work
        let doubled = super::each(2, &[1, 2, 3, 4], |job| {
            both.wait();
            job * 2
        });
        assert_eq!(doubled, [2, 4, 6, 8]);
        assert!(super::each(3, &[] as &[u8], |job| *job).is_empty());
    }
}
