//! One device through the driver: its context, its streams and events, its modules.

mod calls;
mod capturing;
mod device;
pub(crate) mod devices;
mod event;
mod module;
mod sticky;
mod stream;
mod timing;
mod toolkit;
mod works;

pub(crate) use calls::{Calls, OUT_OF_MEMORY};
pub use device::Device;
pub use event::Event;
pub(crate) use event::RawEvent;
pub use module::{Argument, Kernel, Launch, Module};
pub use stream::Stream;
pub use toolkit::Toolkit;
