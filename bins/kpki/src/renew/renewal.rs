//! One certificate's renewal, as a step.

use std::{cell::Cell, rc::Rc};

use khost::{Change, Context, Error, Result, Status, Step, Thing};

use super::{
    World, material,
    record::{self, Record},
    works,
};
use crate::{
    holder::Holder,
    inventory::{Issuer, Item, Keeper, State},
};

/// A certificate that is renewed when it is due, or because somebody asks for it.
#[derive(Debug)]
pub(crate) struct Renewal {
    world: Rc<World>,
    item: Item,
    /// Asked for by name and not done yet.
    forced: Cell<bool>,
}

impl Renewal {
    pub(crate) fn new(world: &Rc<World>, item: Item, forced: bool) -> Self {
        Self { world: Rc::clone(world), item, forced: Cell::new(forced) }
    }

    /// Why it is to be renewed, if it is.
    fn reason(&self, context: &Context<'_>) -> Result<Option<String>> {
        let (host, rules) = (context.host, self.world.rules);
        if Record::read(host, self.item.name)?.is_some() {
            return Ok(Some("a renewal of it was interrupted".into()));
        }
        let held = self.item.read(host)?;
        let state = self.item.state(host, &held, rules.now, rules.renew_before_days)?;
        if self.forced.get() {
            return Ok(Some(state.reason().unwrap_or("you asked for it").to_owned()));
        }
        if self.item.name == "root-kubeconfig" {
            return Ok(self.outdated_copy(context)?.or(state.reason().map(str::to_owned)));
        }
        let wanted = match &state {
            State::Good => false,
            State::Missing => self.item.issuer != Issuer::Itself, // the kubelet makes it
            State::Due(_) => {
                // The kubelet is at it with its own.
                self.item.keeper != Keeper::Kubelet && self.can_last_longer(context, &held)?
            }
            State::Ended(_) | State::Damaged(_) => true,
        };
        Ok(if wanted { state.reason().map(str::to_owned) } else { None })
    }

    /// root's kubeconfig goes by the administrator's.
    fn outdated_copy(&self, context: &Context<'_>) -> Result<Option<String>> {
        let admin = Holder::Kubeconfig(kspec::paths::ADMIN_CONF.into()).read(context.host)?;
        let own = self.item.read(context.host)?;
        Ok(match (admin.cert, own.cert) {
            (Some(Ok(admin)), Some(Ok(own)))
                if admin.subject == own.subject && admin.pem != own.pem =>
            {
                Some("admin.conf has another certificate".into())
            }
            _ => None,
        })
    }

    /// Whether the end of its authority leaves it any more life than it has.
    fn can_last_longer(&self, context: &Context<'_>, held: &crate::holder::Held) -> Result<bool> {
        let Some(issuer) = self.item.issuer.holder() else { return Ok(true) };
        Ok(match (issuer.read(context.host)?.cert, &held.cert) {
            (Some(Ok(issuer)), Some(Ok(seen))) => issuer.term.until > seen.term.until,
            _ => true,
        })
    }

    fn prepare(&self, context: &Context<'_>) -> Result<Record> {
        let (host, rules) = (context.host, self.world.rules);
        let held = self.item.read(host)?;
        let files = material::of(&self.world, host, &self.item, &held)?;
        // Whoever issued it: while an authority is replaced, both are trusted.
        let usable = match &held.cert {
            Some(Ok(seen)) => {
                held.key_fault().is_none() && seen.out_of_term(rules.now, 0).is_none()
            }
            _ => false,
        };
        let record = Record { old_is_good: usable, files };
        record.write(host, self.item.name)?;
        Ok(record)
    }
}

impl Step for Renewal {
    fn id(&self) -> String {
        format!("renewal:{}", self.item.name)
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        Ok(match self.reason(context)? {
            None => Status::Done,
            Some(why) => {
                let (name, path) = (self.item.name, self.item.holder.path().display());
                Status::Differs(Change::new(format!("renew {name}, {path}: {why}")))
            }
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        // Its files belong to the phase that made them, whose journal knows how they were.
        Ok(vec![record::thing()])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let (host, name) = (context.host, self.item.name);
        let record = match Record::read(host, name)? {
            Some(record) => record,
            None => self.prepare(context)?,
        };
        record.put_new(host)?;
        let seen = works::seen(&self.world, context, &self.item, record.old_is_good);
        let Err(error) = seen else {
            self.forced.set(false);
            return Record::forget(host, name);
        };
        if !record.old_is_good {
            // What it replaced is of no use: whatever is wrong, it is not the new one.
            Record::forget(host, name)?;
            let what = format!("`{name}` is renewed, but what uses it does not work");
            return Err(Error::host("renewal-not-working", what)
                .because(error)
                .hint("mend that, then `kpki renew` again for the others"));
        }
        record.put_old(host)?;
        let back = works::seen(&self.world, context, &self.item, true);
        Record::forget(host, name)?;
        let what = format!("`{name}` did not work after its renewal; the old one is back");
        let error = Error::host("renewal-undone", what).because(error);
        Err(error.hint(match back {
            Ok(()) => {
                "it works again with the old one; mend the cause, then `kpki renew` again".into()
            }
            Err(still) => format!("nor does it work with the old one: {}", still.chain()),
        }))
    }
}
