//! `kfetch load`: read a bundle into the store. Nothing is named before its SHA-256 fits, and no
//! image and no lock before all has come.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use khost::{
    Change, Context, Error, Result, Status, Step, StepList, Thing, Tool, engine,
    error::Exit,
    fs::{self, Attributes},
};

use crate::{
    bundle::Contents,
    hashed::Hashed,
    image,
    index::{Document, Index},
    layout::{self, Layout},
    progress::Progress,
    store::Store,
    unbundle::{Bundle, Head},
    wanted::{self, WantedImage},
};

/// Read the bundle `from`; `-` is standard input.
pub(crate) fn load(tool: &Tool, from: &Path) -> Result<Exit> {
    tool.needs_root("load")?;
    let mut steps = StepList::new();
    steps.add(Load { from: from.to_owned(), lock: tool.lock_path(), done: Cell::new(false) });
    engine::apply("kfetch", &steps, &tool.context())
}

/// The step that does it: so it is journaled, and alone with the store.
#[derive(Debug)]
struct Load {
    from: PathBuf,
    /// Where the lock goes.
    lock: PathBuf,
    done: Cell<bool>,
}

impl Load {
    fn is_stdin(&self) -> bool {
        self.from == Path::new("-")
    }

    /// What to read, and how long it is if that is known.
    fn source(&self) -> Result<(Box<dyn Read>, Option<u64>)> {
        if self.is_stdin() {
            return Ok((Box::new(io::stdin().lock()), None));
        }
        let failed = |error| Error::io("read", &self.from, error);
        let file = File::open(&self.from).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok((Box::new(file), Some(length)))
    }

    /// Refuse to put the bundle's lock in the place of another.
    fn check_lock(&self, head: &Head) -> Result<()> {
        match fs::read(&self.lock)? {
            Some(own) if own != head.text => {
                let path = self.lock.display();
                Err(Error::input("lock-differs", format!("`{path}` is not the lock of the bundle"))
                    .hint(format!("if the bundle is right, run `mv {path} {path}.old` and again")))
            }
            _ => Ok(()),
        }
    }

    /// Whether nothing of the bundle would change anything.
    fn is_loaded(&self, head: &Head, contents: &Contents, store: &Store) -> Result<bool> {
        let index = Index::read(store)?.unwrap_or_default();
        let named = |image: &WantedImage| index.named(&image.text).map(|entry| entry.digest);
        for image in &head.wanted.images {
            if named(image) != image.digest {
                return Ok(false);
            }
        }
        for digest in contents.manifests.keys().chain(contents.blobs.keys()) {
            let size = store.size(*digest)?;
            let wanted = contents.blobs.get(digest).copied().flatten();
            if size.is_none() || wanted.is_some_and(|wanted| size != Some(wanted)) {
                return Ok(false);
            }
        }
        Ok(fs::exists(&self.lock))
    }
}

impl Step for Load {
    fn id(&self) -> String {
        format!("bundle:{}", self.from.display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        if !self.done.get() && !self.is_stdin() {
            let mut bundle = Bundle::new(self.source()?.0, &self.from);
            let (mut entries, store) = (bundle.entries()?, Store::new(context.host));
            let head = entries.head(wanted::this_machine()?, &store)?;
            self.check_lock(&head)?;
            let contents = entries.manifests(&head, |_, _| Ok(()))?;
            if self.is_loaded(&head, &contents, &store)? {
                return Ok(Status::Done);
            }
        }
        let change = || Change::new(format!("load the bundle {}", self.from.display()));
        Ok(if self.done.get() { Status::Done } else { Status::Differs(change()) })
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        layout::touches(context)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let ((source, total), store) = (self.source()?, Store::new(context.host));
        let progress = Progress::new(context.report);
        let name = self.from.display().to_string();
        let transfer = progress.start(self.id(), name, ["loading", "loaded"]);
        let at = |position| transfer.at(position, total);
        let mut bundle = Bundle::new(Hashed::telling(source, &at), &self.from);
        let mut entries = bundle.entries()?;
        let head = entries.head(wanted::this_machine()?, &store)?;
        self.check_lock(&head)?;
        if let Status::Differs(_) = Layout.check(context)? {
            Layout.apply(context)?;
        }
        let write = |digest, bytes: &[u8]| match fs::digest(&store.blob(digest))? {
            Some(found) if found == digest => Ok(()),
            _ => layout::write(&store.blob(digest), bytes),
        };
        let contents = entries.manifests(&head, write)?;
        entries.blobs(&contents, &store)?;
        let digest = bundle.end()?.digest().hex();
        transfer.end();
        context.report.say(&format!("the SHA-256 of {} is {digest}", self.from.display()));

        let mut index = Index::read(&store)?.unwrap_or_default();
        for image in &head.wanted.images {
            let bytes = image.digest.and_then(|digest| contents.manifests.get(&digest));
            let Some(bytes) = bytes else { continue };
            if let Ok(Document::Manifest(manifest)) = Document::parse(bytes) {
                image::is_for(&store, image, &manifest, head.wanted.arch)?;
                index.name(&image.text, manifest.descriptor(bytes), head.wanted.arch);
            }
        }
        index.write(&store)?;
        if !fs::exists(&self.lock) {
            if let Some(dir) = self.lock.parent() {
                fs::make_dirs(dir, 0o755)?;
            }
            fs::write(&self.lock, &head.text, Attributes { mode: 0o644, owner: None })?;
        }
        self.done.set(true);
        Ok(())
    }
}
