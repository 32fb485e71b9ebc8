//! What `scripts/chart` and `scripts/timeline` make of the events of a run.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test drives programs")]

use std::{path::Path, process::Command};

/// Two phases side by side, one that reads what the first leaves, up to a milestone, and kprep once
/// more at the end.
const EVENTS: &str = r#"{"schema":1,"at":100.0,"phase":"kprep","event":"started","what":"apply"}
{"schema":1,"at":100.0,"phase":"kfetch","event":"started","what":"apply"}
{"schema":1,"at":100.2,"phase":"kprep","event":"changing","step":"file:/a","what":"create \"/a\""}
{"schema":1,"at":101.0,"phase":"kprep","event":"changed","step":"file:/a","what":"create \"/a\""}
{"schema":1,"at":101.0,"phase":"kprep","event":"ended","code":0,"user_seconds":0.1,"system_seconds":0.1,"peak_kib":9000}
{"schema":1,"at":101.1,"phase":"kpki","event":"started","what":"apply --until issued"}
{"schema":1,"at":101.1,"phase":"kpki","event":"read","what":"/var/lib/k8steps/facts.json","made_by":"kprep apply"}
{"schema":1,"at":101.2,"phase":"kpki","event":"waiting","step":"wait:x","what":"x </script>"}
{"schema":1,"at":104.2,"phase":"kpki","event":"healthy","step":"wait:x","what":"x </script>"}
{"schema":1,"at":104.2,"phase":"kpki","event":"ended","code":0,"user_seconds":0.1,"system_seconds":0.1,"peak_kib":9000}
{"schema":1,"at":102.0,"phase":"kfetch","event":"ended","code":0,"user_seconds":0.1,"system_seconds":0.1,"peak_kib":9000}
{"schema":1,"at":104.3,"phase":"kprep","event":"started","what":"dns"}
{"schema":1,"at":105.0,"phase":"kprep","event":"ended","code":0,"user_seconds":0.1,"system_seconds":0.1,"peak_kib":9000}
"#;

/// The script `name` of `scripts/`, given files that hold `texts`; what it said, and its exit code.
fn script(name: &str, texts: &[&str]) -> (String, i32) {
    let dir = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(name);
    let mut command = Command::new(path);
    for (number, text) in texts.iter().enumerate() {
        let file = dir.path().join(format!("run{number}.jsonl"));
        std::fs::write(&file, text).unwrap();
        command.arg(file);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (said, output.status.code().unwrap())
}

#[test]
fn a_run_fits_on_a_screen() {
    let (said, code) = script("chart", &[EVENTS]);
    assert_eq!(code, 0, "{said}");
    let expected = "\
kprep         ##########........................................    1.0 s
kfetch        ####################..............................    2.0 s
kpki issued   ...........###############################........    3.1 s
kprep dns     ...........................................#######    0.7 s
all                                                                 5.0 s

longest steps
   3.0 s  kpki issued   x </script>
   0.8 s  kprep         create \"/a\"
";
    assert_eq!(said, expected);
}

#[test]
fn a_run_that_was_cut_off_shows_what_is_there() {
    let cut = &EVENTS[..EVENTS.len() - 60];
    let (said, code) = script("chart", &[cut]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("kpki") && said.contains("the last event is cut"), "{said}");
    let (said, code) = script("chart", &["no events"]);
    assert_eq!((code, said.as_str()), (1, "no run is in it\n"));
    let (said, code) = script("timeline", &[]);
    assert_eq!(code, 2);
    assert!(said.contains("timeline FILE [OTHER] > page.html"), "{said}");
}

#[test]
fn a_page_holds_both_runs_and_nothing_in_them_ends_it() {
    let (page, code) = script("timeline", &[EVENTS, EVENTS]);
    assert_eq!(code, 0, "{page}");
    assert_eq!(page.matches("data-name=\"run").count(), 2);
    assert!(page.contains("data-name=\"run1.jsonl\""));
    assert!(page.contains(r"x \u003c/script>") && !page.contains("x </script>"));
    assert!(
        !page.contains("http://") || page.matches("http://").count() == 1,
        "it loads something"
    );
    assert!(page.trim_end().ends_with("</html>"));
}
