//! What memory is used for: every block is counted under one of these.

use std::cell::Cell;

/// The use of a block; the numbers are those that JavaScript passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Category {
    /// Values of parameters.
    Parameters = 0,
    /// Their gradients.
    Gradients = 1,
    /// What an optimizer keeps from step to step.
    Optimizer = 2,
    /// Results of operations, and what backward needs of them.
    #[default]
    Activations = 3,
    /// Working memory of operations, kept by the threads that use it.
    Workspace = 4,
    /// Memory that collectives send from and receive into.
    Communication = 5,
}

thread_local! {
    static CURRENT: Cell<Category> = const { Cell::new(Category::Activations) };
}

impl Category {
    /// Every category, in the order of the codes.
    pub const ALL: [Category; 6] = [
        Category::Parameters,
        Category::Gradients,
        Category::Optimizer,
        Category::Activations,
        Category::Workspace,
        Category::Communication,
    ];

    /// The category with this code.
    pub fn from_code(code: u32) -> Result<Category, String> {
        let known = Category::ALL.get(code as usize).copied();
        known.ok_or_else(|| format!("memory category {code} is unknown. Use a code from 0 to {}.", Category::ALL.len() - 1))
    }

    /// The category under which this thread's new buffers are counted.
    pub fn current() -> Category {
        CURRENT.get()
    }

    /// Counts this thread's new buffers under `self` from now on; returns what it was before.
    pub fn make_current(self) -> Category {
        CURRENT.replace(self)
    }
}
