//! The things a phase can want of the machine. One file a kind.

pub mod absent;
pub mod account;
pub mod cgroup;
pub mod command;
pub mod containers;
pub mod deferred;
pub mod directory;
pub mod file;
pub mod hostname;
pub mod ini;
pub mod lines;
pub mod link;
pub mod manifest;
pub mod module;
pub mod network;
pub mod package;
pub mod program;
pub mod reload;
pub mod selinux;
pub(crate) mod stamp;
pub mod swap;
pub mod sysctl;
pub mod trust;
pub mod unit;
pub mod unit_off;
pub mod wait;
