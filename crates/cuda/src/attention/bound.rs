//! What a run binds to the tensors of its graph.

use super::shape::{AttentionShape, Form, Pass};
use crate::error::{Code, Error};
use crate::memory::Part;
use storage::DType;

/// What an attention reads, and how it weighs and hides scores.
#[derive(Clone)]
pub struct AttentionInputs {
    /// From the first element of the first query, key and value on.
    pub query: Part,
    pub key: Part,
    pub value: Part,
    /// Factor of the scores.
    pub scale: f32,
    /// Keys that a query sees, its own the last; unread where the shape has no window.
    pub window: usize,
}

/// What the forward pass left, and the gradient of its output.
#[derive(Clone)]
pub struct AttentionSaved {
    pub out: Part,
    /// ln of the sum of exp of the scores, f32 [batch, heads, queries].
    pub lse: Part,
    pub grad: Part,
}

/// What a pass writes.
#[derive(Clone)]
pub enum AttentionOutputs {
    Forward {
        out: Part,
        lse: Part,
    },
    Backward {
        saved: AttentionSaved,
        /// Of queries, keys and values.
        gradients: [Part; 3],
    },
}

/// A tensor of a graph that has memory, or a number that is told with each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Query,
    Key,
    Value,
    Out,
    Lse,
    Grad,
    QueryGrad,
    KeyGrad,
    ValueGrad,
    /// Of the graph's own: the sum of out times grad of each query, and the gradient of the queries in f32.
    Delta,
    Sum,
    /// Numbers: the factor of the scores, 1, what hidden scores become, and the window's width.
    Scale,
    One,
    Hidden,
    Window,
}

impl Role {
    /// How a tensor with memory lies; None for numbers.
    pub fn form(self, shape: &AttentionShape) -> Option<Form> {
        Some(match self {
            Role::Query | Role::QueryGrad => shape.query(),
            Role::Key | Role::Value | Role::KeyGrad | Role::ValueGrad => shape.key(),
            Role::Out | Role::Grad => shape.out(),
            Role::Lse | Role::Delta => shape.rows_form(),
            Role::Sum => shape.dense_query(),
            Role::Scale | Role::One | Role::Hidden | Role::Window => return None,
        })
    }

    pub fn dtype(self, shape: &AttentionShape) -> DType {
        match self {
            Role::Lse | Role::Delta | Role::Sum | Role::Scale | Role::One | Role::Hidden | Role::Window => DType::F32,
            _ => shape.dtype,
        }
    }

    /// The number, where it is one.
    pub fn number(self, inputs: &AttentionInputs) -> Option<f32> {
        match self {
            Role::Scale => Some(inputs.scale),
            Role::One => Some(1.0),
            Role::Hidden => Some(f32::NEG_INFINITY),
            Role::Window => Some(inputs.window as f32),
            _ => None,
        }
    }

    /// The caller's memory; None where it is the graph's own.
    pub fn part<'a>(self, inputs: &'a AttentionInputs, outputs: &'a AttentionOutputs) -> Option<&'a Part> {
        match (self, outputs) {
            (Role::Query, _) => Some(&inputs.query),
            (Role::Key, _) => Some(&inputs.key),
            (Role::Value, _) => Some(&inputs.value),
            (Role::Out, AttentionOutputs::Forward { out, .. }) => Some(out),
            (Role::Lse, AttentionOutputs::Forward { lse, .. }) => Some(lse),
            (Role::Out, AttentionOutputs::Backward { saved, .. }) => Some(&saved.out),
            (Role::Lse, AttentionOutputs::Backward { saved, .. }) => Some(&saved.lse),
            (Role::Grad, AttentionOutputs::Backward { saved, .. }) => Some(&saved.grad),
            (Role::QueryGrad, AttentionOutputs::Backward { gradients, .. }) => Some(&gradients[0]),
            (Role::KeyGrad, AttentionOutputs::Backward { gradients, .. }) => Some(&gradients[1]),
            (Role::ValueGrad, AttentionOutputs::Backward { gradients, .. }) => Some(&gradients[2]),
            _ => None,
        }
    }
}

/// The tensors of the caller in a pass.
fn roles(pass: Pass) -> &'static [Role] {
    use Role::{Grad, Key, KeyGrad, Lse, Out, Query, QueryGrad, Value, ValueGrad};
    match pass {
        Pass::Forward => &[Query, Key, Value, Out, Lse],
        Pass::Backward { .. } => &[Query, Key, Value, Out, Lse, Grad, QueryGrad, KeyGrad, ValueGrad],
    }
}

/// Refuses memory of another type, too little of it, and such that does not begin where the library may read 16 bytes at once.
pub(super) fn check(shape: &AttentionShape, pass: Pass, inputs: &AttentionInputs, outputs: &AttentionOutputs) -> Result<(), Error> {
    for role in roles(pass) {
        let (part, form) = (role.part(inputs, outputs), role.form(shape));
        let fits = part.zip(form).is_some_and(|(part, form)| {
            part.dtype() == role.dtype(shape) && part.len() >= AttentionShape::span(&form) && part.address().is_multiple_of(16)
        });
        if !fits {
            let told = format!("attention by cuDNN: the memory of {role:?} is not that of {shape:?}. Please report it.");
            return Err(Error::new(Code::Refused, told));
        }
    }
    Ok(())
}
