//! The tool run, and how it must end.

use crate::Tree;

impl Tree {
    /// Run the tool with `args`; it must end with the exit code `code`. What it said on standard
    /// output and on standard error.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests call this")]
    pub fn run(&self, args: &[&str], code: i32) -> (String, String) {
        let output = self.tool().args(args).assert().code(code).get_output().clone();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    /// What the tool says of itself: `--help`, in full.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests call this")]
    pub fn help(&self) -> String {
        let output = self.bare().arg("--help").assert().code(0).get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The phase must be refused, by `plan` as by `apply`: see [`Tree::refuses`].
    pub fn refuses_phase(&self, code: i32, error: &str, hint: &str) {
        self.refuses(&["plan"], code, error, hint);
        self.refuses(&["apply"], code, error, hint);
    }

    /// The tool must refuse `args` with the exit code `code`, say `error[…]` with this error code
    /// and a hint that begins with `hint`, and leave the tree as it was.
    #[expect(clippy::missing_panics_doc, reason = "only tests call this")]
    pub fn refuses(&self, args: &[&str], code: i32, error: &str, hint: &str) {
        let before = self.listing();
        let (_, said) = self.run(args, code);
        assert!(said.contains(&format!("error[{error}]")), "{said}");
        assert!(said.contains(&format!("hint: {hint}")), "{said}");
        assert_eq!(self.listing(), before, "{args:?} is refused and changes something");
    }
}
