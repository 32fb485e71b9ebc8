//! libFuzzer, started from within a test.

use std::{
    ffi::{CString, c_char, c_int},
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process, ptr, slice,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use libfuzzer_sys as _; // brings its C++

/// Seconds that one input may take, in a build that is slow and on a machine that is busy.
const LIMIT: u64 = 20;

type Run = Box<dyn Fn(&[u8]) + Send + Sync>;

static RUN: OnceLock<Run> = OnceLock::new();
/// Holds the input that is being tried: nobody else can write it down when the stack is full.
static LAST: OnceLock<File> = OnceLock::new();
/// Inputs that have been begun, and those that have ended.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "libFuzzer is C++")]
unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        count: *mut c_int,
        arguments: *mut *mut *mut c_char,
        one: extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

/// Hand over to libFuzzer with `arguments`, one a line; the first of them that is no option is the
/// directory to begin with, where the seeds are put.
pub(crate) fn run<S: AsRef<[u8]>>(seeds: &[S], run: Run, arguments: &str) {
    let lines: Vec<&str> = arguments.lines().collect();
    if let Some(dir) = lines.iter().find(|line| Path::new(line).is_dir()) {
        for (at, seed) in seeds.iter().enumerate() {
            fs::write(Path::new(dir).join(format!("seed-{at}")), seed.as_ref()).unwrap();
        }
    }
    assert!(RUN.set(run).is_ok(), "one target a process");
    if let Some(last) = std::env::var_os("FUZZ_LAST") {
        LAST.get_or_init(|| File::create(last).unwrap());
    }
    // A panic is a finding, in whatever thread and whoever would catch it.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        process::abort();
    }));
    thread::spawn(watch);

    let arguments = ["fuzz"].into_iter().chain(lines).map(|line| CString::new(line).unwrap());
    let arguments: Vec<CString> = arguments.collect();
    let mut pointers: Vec<*mut c_char> = arguments.iter().map(|a| a.as_ptr().cast_mut()).collect();
    let mut count = c_int::try_from(pointers.len()).unwrap();
    pointers.push(ptr::null_mut());
    let mut pointers = pointers.as_mut_ptr();
    #[expect(
        unsafe_code,
        reason = "as C's main has them: strings that end, and a null behind them"
    )]
    let code = unsafe { LLVMFuzzerRunDriver(&raw mut count, &raw mut pointers, one) };
    process::exit(code);
}

extern "C" fn one(bytes: *const u8, length: usize) -> c_int {
    #[expect(unsafe_code, reason = "libFuzzer keeps the bytes until this returns")]
    let bytes = if length == 0 { &[] } else { unsafe { slice::from_raw_parts(bytes, length) } };
    if let Some(last) = LAST.get() {
        last.set_len(0).and_then(|()| last.write_all_at(bytes, 0)).unwrap();
    }
    BEGUN.fetch_add(1, Ordering::SeqCst);
    if let Some(run) = RUN.get() {
        run(bytes);
    }
    ENDED.fetch_add(1, Ordering::SeqCst);
    0
}

/// End with an input that takes too long. libFuzzer's own clock asks the main thread, and that waits
/// for the test.
fn watch() {
    let mut last = 0;
    loop {
        thread::park_timeout(Duration::from_secs(LIMIT));
        let begun = BEGUN.load(Ordering::SeqCst);
        if begun == last && ENDED.load(Ordering::SeqCst) < begun {
            eprintln!("one input took more than {LIMIT} seconds");
            process::abort();
        }
        last = begun;
    }
}
