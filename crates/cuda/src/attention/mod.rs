//! Attention by cuDNN: its graph of operations built through the C interface of its backend, planned once for each shape, and run in a
//! stream. What it does not plan is left to whoever asked, with the reason.

mod backward;
mod bound;
mod calls;
mod descriptor;
mod dnn;
mod forward;
mod graph;
mod offline;
mod plan;
mod scores;
mod setting;
mod shape;

pub use bound::{AttentionInputs, AttentionOutputs, AttentionSaved};
pub(crate) use calls::Calls;
pub use dnn::{Dnn, Outcome};
pub use offline::plan_without_device;
pub use setting::AttentionSetting;
pub use shape::{AttentionShape, Pass};
