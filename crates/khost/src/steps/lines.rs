//! Lines of ours in a file of others: reset takes out ours and leaves theirs.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    Change, Context, Detail, Error, Host, Result, Status, Step, Thing,
    fs::{self, Attributes},
    steps::file::{diff, make_parents, missing_parents},
};

const BEGIN: &str = "# k8steps BEGIN";
const END: &str = "# k8steps END";
/// Before a line that was switched off.
const OFF: &str = "#k8steps# ";

/// A block of lines in a file, or lines of it that are switched off by a comment mark.
#[derive(Debug, Clone)]
pub struct Lines {
    path: PathBuf,
    edit: Edit,
    written_anew: bool,
}

#[derive(Debug, Clone)]
enum Edit {
    Block(String),
    Head(String, fn(&str) -> bool),
    Off(fn(&str) -> bool),
}

impl Lines {
    /// `text`, between two marks, in the file at the host's absolute `path`; where the block is
    /// already, or at the end. The file is made, 0644, when it is missing. Without a text there is
    /// no block.
    pub fn block(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), edit: Edit::Block(text.into()), written_anew: false }
    }

    /// `text`, between two marks, before all else in the file at `path`, for files in which the
    /// first word counts. Of the other lines those become comments for which `is_unwanted` holds.
    pub fn head(
        path: impl Into<PathBuf>,
        text: impl Into<String>,
        is_unwanted: fn(&str) -> bool,
    ) -> Self {
        let edit = Edit::Head(text.into(), is_unwanted);
        Self { path: path.into(), edit, written_anew: false }
    }

    /// No line of the file at `path` for which `is_unwanted` holds: such lines become comments.
    /// Fine when the file does not exist.
    pub fn switched_off(path: impl Into<PathBuf>, is_unwanted: fn(&str) -> bool) -> Self {
        Self { path: path.into(), edit: Edit::Off(is_unwanted), written_anew: false }
    }

    /// A program writes the file anew from time to time, with what is ours in it and without the
    /// marks: reset puts the whole file back.
    #[must_use]
    pub fn written_anew(mut self) -> Self {
        self.written_anew = true;
        self
    }

    /// What the file says, and what it shall say; none when there is no file and none is needed.
    fn texts(&self, host: &Host) -> Result<Option<(String, String)>> {
        let real = host.path(&self.path);
        if fs::look(&real)?.is_some_and(|found| !found.is_file()) {
            let path = self.path.display();
            return Err(Error::host("not-a-file", format!("`{path}` is not a plain file"))
                .because("lines can only be kept in a file that is no link")
                .hint(format!("look with `ls -ld {path}`, replace it by a file and run again")));
        }
        let found = fs::read(&real)?.map(|bytes| fs::text_of(&bytes));
        Ok(match (&self.edit, found) {
            (Edit::Block(block), found) => {
                let found = found.unwrap_or_default();
                let wanted = with_block(&found, block);
                Some((found, wanted))
            }
            (Edit::Head(block, is_unwanted), found) => {
                let found = found.unwrap_or_default();
                let wanted = format!("{}{}", marked(block), without(&cut(&found), *is_unwanted));
                Some((found, wanted))
            }
            (Edit::Off(is_unwanted), Some(found)) => {
                let wanted = without(&found, *is_unwanted);
                Some((found, wanted))
            }
            (Edit::Off(_), None) => None,
        })
    }
}

impl Step for Lines {
    fn id(&self) -> String {
        format!("lines:{}", self.path.display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        Ok(match self.texts(context.host)? {
            Some((found, wanted)) if found != wanted => Status::Differs(Change {
                what: format!("edit {}", self.path.display()),
                detail: Some(Detail::Diff(diff(&fs::shown(&found), &fs::shown(&wanted)))),
            }),
            _ => Status::Done,
        })
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = missing_parents(context.host, &self.path)?;
        let path = self.path.clone();
        things.push(if self.written_anew { Thing::File(path) } else { Thing::Lines(path) });
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        let Some((_, wanted)) = self.texts(host)? else { return Ok(()) };
        make_parents(host, &self.path)?;
        rewrite(host, &self.path, &wanted)
    }
}

/// Replace the text of the file at `path`; its mode and owner stay.
fn rewrite(host: &Host, path: &Path, text: &str) -> Result<()> {
    let real = host.path(path);
    let attributes = match fs::look(&real)? {
        Some(found) => Attributes {
            mode: fs::mode(&found),
            owner: host.is_live().then(|| (found.uid(), found.gid())),
        },
        None => Attributes { mode: 0o644, owner: host.is_live().then_some((0, 0)) },
    };
    fs::write(&real, &fs::bytes_of(text), attributes)
}

/// `block` between its marks.
fn marked(block: &str) -> String {
    format!("{BEGIN}\n{}\n{END}\n", block.trim_end())
}

/// `text` with the block of ours saying `block`.
fn with_block(text: &str, block: &str) -> String {
    if block.trim().is_empty() {
        return cut(text);
    }
    let ours = marked(block);
    match place(text) {
        Some((start, end)) => format!("{}{ours}{}", &text[..start], &text[end..]),
        None if text.is_empty() || text.ends_with('\n') => format!("{text}{ours}"),
        None => format!("{text}\n{ours}"),
    }
}

/// Where the block of ours begins and ends in `text`, with its marks. What follows a mark whose end
/// is lost, up to the next mark, is somebody's and no block.
fn place(text: &str) -> Option<(usize, usize)> {
    let marks = text.match_indices(BEGIN).map(|(at, _)| at);
    let mut starts = marks.filter(|at| starts_line(text, *at)).peekable();
    while let Some(start) = starts.next() {
        let end = start + text[start..].find(&format!("\n{END}"))? + 1;
        if starts.peek().is_none_or(|next| *next > end) {
            return Some((start, text[end..].find('\n').map_or(text.len(), |line| end + line + 1)));
        }
    }
    None
}

fn starts_line(text: &str, at: usize) -> bool {
    at == 0 || text.as_bytes()[at - 1] == b'\n'
}

fn without(text: &str, is_unwanted: fn(&str) -> bool) -> String {
    text.split_inclusive('\n')
        .map(|line| if is_unwanted(line) { format!("{OFF}{line}") } else { line.into() })
        .collect()
}

/// `text` without the block of ours.
fn cut(text: &str) -> String {
    place(text).map_or_else(|| text.into(), |(start, end)| text[..start].to_owned() + &text[end..])
}

/// `text` without anything of ours: as others wrote it.
pub fn undone(text: &str) -> String {
    cut(text).split_inclusive('\n').map(|line| line.strip_prefix(OFF).unwrap_or(line)).collect()
}

/// Take our lines out of the file at `path`, which said `was` before they came in; the file goes
/// when there was none and nothing of others is left in it.
pub(crate) fn restore(host: &Host, path: &Path, was: Option<&[u8]>) -> Result<()> {
    let real = host.path(path);
    fs::remove_unfinished(&real)?;
    let Some(text) = fs::read(&real)?.map(|bytes| fs::text_of(&bytes)) else { return Ok(()) };
    let undone = undone(&text);
    match was.map(fs::text_of) {
        None if undone.trim().is_empty() => fs::remove(&real),
        // We may have ended its last line.
        Some(was) if was.trim_end() == undone.trim_end() && was != text => {
            rewrite(host, path, &was)
        }
        _ if undone == text => Ok(()),
        _ => rewrite(host, path, &undone),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Lines, rewrite, undone, with_block, without};
    use crate::{
        Context, Host, Status, Step as _,
        report::{Loudness, Report},
    };

    #[test]
    fn a_block_comes_stays_changes_and_goes() {
        let theirs = "127.0.0.1 localhost\n";
        let first = with_block(theirs, "192.0.2.1 a\n");
        assert_eq!(first, format!("{theirs}# k8steps BEGIN\n192.0.2.1 a\n# k8steps END\n"));
        assert_eq!(with_block(&first, "192.0.2.1 a"), first);
        let later = format!("{first}192.0.2.9 theirs\n");
        let second = with_block(&later, "192.0.2.2 b");
        assert_eq!(second, later.replace("192.0.2.1 a", "192.0.2.2 b"));
        assert_eq!(undone(&second), format!("{theirs}192.0.2.9 theirs\n"));
    }

    #[test]
    fn without_a_text_there_is_no_block() {
        assert_eq!(with_block("one\n", ""), "one\n");
        assert_eq!(with_block(&with_block("one\n", "two"), ""), "one\n");
    }

    #[test]
    fn a_head_comes_first_and_switches_lines_off() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&host, &report, None);
        let real = root.path().join("file");
        let theirs = "search a\n# note\nserver b\n";
        rewrite(&host, "/file".as_ref(), theirs).unwrap();
        for text in ["search x", "search y"] {
            let head = Lines::head("/file", text, |line| line.starts_with("search"));
            head.apply(&context).unwrap();
            assert_eq!(head.check(&context).unwrap(), Status::Done);
            let found = std::fs::read_to_string(&real).unwrap();
            let ours = format!("# k8steps BEGIN\n{text}\n# k8steps END\n");
            assert_eq!(found, format!("{ours}#k8steps# search a\n# note\nserver b\n"));
            assert_eq!(undone(&found), theirs);
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_ended() {
        let text = with_block("one", "two");
        assert_eq!(text, "one\n# k8steps BEGIN\ntwo\n# k8steps END\n");
        assert_eq!(undone(&text), "one\n");
    }

    #[test]
    fn a_torn_block_is_left_to_people() {
        assert_eq!(undone("# k8steps BEGIN\nx\n"), "# k8steps BEGIN\nx\n");
    }

    #[test]
    fn lines_go_off_and_on_again() {
        let text = "/dev/a / ext4\n/dev/b none swap\n";
        let off = without(text, |line| line.starts_with("/dev/b"));
        assert_eq!(off, "/dev/a / ext4\n#k8steps# /dev/b none swap\n");
        assert_eq!(without(&off, |line| line.starts_with("/dev/b")), off);
        assert_eq!(undone(&off), text);
    }

    #[test]
    fn a_torn_block_keeps_what_follows_it() {
        let torn = "# k8steps BEGIN\ntheirs\n";
        let once = with_block(torn, "ours");
        assert_eq!(with_block(&once, "ours"), once);
        assert_eq!(undone(&once), torn);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the hand of others, in a test")]
    fn bytes_of_others_that_are_no_text_stay() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let real = root.path().join("file");
        let theirs = b"# M\xfcller\n\xf4\x8f\xbf\xbf\n".as_slice();
        std::fs::write(&real, theirs).unwrap();
        let lines = Lines::block("/file", "ours");
        lines.apply(&Context::new(&host, &report, None)).unwrap();
        let found = std::fs::read(&real).unwrap();
        assert_eq!(found, [theirs, b"# k8steps BEGIN\nours\n# k8steps END\n"].concat());
        super::restore(&host, "/file".as_ref(), Some(theirs)).unwrap();
        assert_eq!(std::fs::read(&real).unwrap(), theirs);
    }

    /// Lines of which some are marks of ours, whole or torn.
    fn text() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            Just("# k8steps BEGIN".to_owned()),
            Just("# k8steps END".to_owned()),
            "#k8steps# [a-z]{0,3}",
            "[a-z# \t]{0,6}",
            any::<String>(),
        ];
        (prop::collection::vec(line, 0..12), "\n?").prop_map(|(lines, end)| lines.join("\n") + &end)
    }

    /// `text` without anything that looks like ours.
    fn theirs(text: String) -> String {
        let less = undone(&text);
        if less == text { text } else { theirs(less) }
    }

    proptest! {
        #[test]
        fn a_block_twice_is_the_block_once(text in text(), block in "[a-z][a-z ]{0,4}(\n[a-z]{1,4})?") {
            let once = with_block(&text, &block);
            prop_assert_eq!(with_block(&once, &block), once);
        }

        #[test]
        fn what_others_wrote_is_there_before_and_after(text in text(), block in "[a-z]{1,4}") {
            let text = theirs(text);
            let ended = if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" };
            let with = with_block(&ended, &block);
            prop_assert!(with.starts_with(&ended));
            prop_assert_eq!(undone(&with), ended);
        }
    }

    #[test]
    fn fuzz_lines() {
        let seed = "a\n# k8steps BEGIN\nours\n# k8steps END\n#k8steps# b\nc";
        fuzz::target([seed], |bytes| {
            let text = crate::fs::text_of(bytes);
            let once = with_block(&text, "ours");
            assert_eq!(with_block(&once, "ours"), once);
            undone(&text);
        });
    }
}
