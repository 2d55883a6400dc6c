//! The control plane of a world across hosts: a small store in the process of rank 0, to which every rank keeps one connection.
//!
//! The store holds values by key, lets ranks meet at barriers, watches over their presence, and keeps the first failure.

mod client;
mod connection;
mod control;
mod event_loop;
mod field;
mod frame;
mod keys;
mod ledger;
mod link;
mod message;
mod place;
mod round;
mod secret;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod waits;

pub use client::{Compared, StoreClient};
pub use control::TcpControl;
pub use server::StoreServer;
pub use settings::StoreSettings;
