//! Everything that touches the machine: files, programs, steps, the journal, errors, start-up.
//!
//! A tool describes what it wants as a list of [`Step`]s; [`Tool`] plans, applies, checks or
//! resets them. Each module below is the only way to do its thing:
//!
//! | module | the one way to |
//! |---|---|
//! | [`app`] | start a tool: parse, log, run, print the error |
//! | [`artifacts`] | find something in the store |
//! | [`client_certificate`] | know the certificate to show to a registry |
//! | [`cmd`] | run a program |
//! | [`completion`] | let bash complete a program |
//! | [`docker_config`] | know the password of a registry |
//! | [`engine`] | walk a list of steps |
//! | [`engines`] | know whose programs run containers |
//! | [`error`] | fail |
//! | `events` | keep what happened, for those who look at it afterwards |
//! | [`fs`] | read, replace and remove files |
//! | [`http`] | ask an HTTPS health endpoint |
//! | [`journal`] | remember how things were, and put them back |
//! | [`kept`] | put files back when what took their place does not work |
//! | [`kubectl`] | talk to the API server |
//! | [`handover`] | pass secrets on to another node |
//! | [`lock`] | be alone with what is changed |
//! | [`lookup`] | ask a DNS server |
//! | [`os`] | learn which distribution it is |
//! | [`report`] | tell people and programs what happens |
//! | [`pods`] | say why pods do not run |
//! | [`sockets`] | know who listens at a port |
//! | [`static_pod`] | start a part of the control plane anew |
//! | [`steps`] | want something of the machine |
//! | [`systemd`] | ask how a unit is |
//! | [`template`] | fill in a text |
//! | [`wait`] | wait, with a limit and a reason |

pub mod admission;
pub mod api;
pub mod app;
pub mod artifacts;
pub mod client_certificate;
pub mod cmd;
pub mod completion;
pub mod docker_config;
pub mod engine;
pub mod engines;
pub mod error;
mod events;
pub mod fs;
pub mod handover;
mod host;
pub mod http;
pub mod journal;
pub mod kept;
pub mod kubectl;
pub mod lock;
pub mod lookup;
mod original;
pub mod os;
pub mod pods;
mod private;
pub mod report;
pub mod sockets;
pub mod static_pod;
mod step;
pub mod steps;
pub mod systemd;
pub mod template;
mod tool;
pub mod wait;

pub use cmd::Cmd;
pub use error::{Error, Result};
pub use host::{Host, Owner};
pub use original::Thing;
pub use step::{Change, Context, Detail, Kind, Status, Step, StepList};
pub use tool::{Farewell, Tool, named_node};
