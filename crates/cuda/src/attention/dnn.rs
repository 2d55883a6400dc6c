//! cuDNN in one stream of a device.

use super::bound::{AttentionInputs, AttentionOutputs, check};
use super::calls::Calls;
use super::descriptor::Failure;
use super::plan::{Plan, Target, Trouble};
use super::shape::{AttentionShape, Pass};
use crate::driver::{Device, Stream};
use crate::error::{Code, Error};
use crate::memory::Block;
use cudarc::cudnn::sys::cudnnHandle_t;
use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::Category;

/// Plans that are kept. Training needs a handful; what has ever new shapes begins anew instead of growing for ever.
const MOST: usize = 256;

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The stream was asked for it.
    Asked,
    /// The library does not do this, and nothing was asked; why not.
    Refused(String),
}

/// A plan, or why there is none.
type Planned = Result<Plan, String>;

#[derive(Default)]
struct Plans {
    kept: HashMap<(AttentionShape, Pass), Planned>,
    /// How often one was looked for that was not kept.
    made: u64,
}

/// Attentions in one stream: their plans, and memory of the pool for each run.
pub struct Dnn {
    device: Device,
    stream: Stream,
    calls: Arc<Calls>,
    raw: cudnnHandle_t,
    /// The most bytes of memory that a run may want.
    limit: usize,
    plans: Mutex<Plans>,
}

// SAFETY: the library's handle may be used on any thread, one at a time: the lock around the plans sees to that.
unsafe impl Send for Dnn {}
// SAFETY: as above.
unsafe impl Sync for Dnn {}

impl Dnn {
    /// Opens the library for a stream. Passes that want more than `limit` bytes beside their operands are refused.
    pub fn open(device: &Device, stream: Stream, limit: usize) -> Result<Dnn, Error> {
        let calls = Arc::clone(device.toolkit().dnn()?);
        device.refuse_in_capture("cuDNN, which the first attention opens, cannot be opened")?;
        let (index, mut raw) = (device.report().index, ptr::null_mut());
        let fails = |failure: Failure| {
            let told = failure.told(&calls);
            Error::new(Code::Attention, format!("device {index}: {told}. Free memory, and see whether the library is whole."))
        };
        device.enter()?;
        // SAFETY: one handle is written.
        Failure::of(&calls, "cudnnCreate", unsafe { (calls.cudnnCreate)(&mut raw) }).map_err(fails)?;
        let dnn = Dnn { device: device.clone(), stream, calls: Arc::clone(&calls), raw, limit, plans: Mutex::default() };
        // SAFETY: the handle and the stream live.
        Failure::of(&calls, "cudnnSetStream", unsafe { (calls.cudnnSetStream)(raw, device.raw(stream).cast()) }).map_err(fails)?;
        Ok(dnn)
    }

    /// Asks the stream for a pass, or says why the library does not do it.
    pub fn run(&self, shape: &AttentionShape, inputs: &AttentionInputs, outputs: &AttentionOutputs, pass: Pass) -> Result<Outcome, Error> {
        shape.check()?;
        check(shape, pass, inputs, outputs)?;
        self.device.enter()?;
        let mut plans = self.held();
        let plan = match self.planned(&mut plans, shape, pass)? {
            Ok(plan) => plan,
            Err(reason) => return Ok(Outcome::Refused(reason.clone())),
        };
        let outside = Category::Workspace.make_current();
        let memory = Block::new(&self.device, self.stream, plan.bytes);
        outside.make_current();
        plan.run(self.raw, memory?.address(), inputs, outputs).map_err(|failure| self.told(shape, &failure))?;
        Ok(Outcome::Asked)
    }

    /// Whether the library does a pass; why not where it does not. Its plan is kept.
    pub fn refusal(&self, shape: &AttentionShape, pass: Pass) -> Result<Option<String>, Error> {
        shape.check()?;
        self.device.enter()?;
        Ok(self.planned(&mut self.held(), shape, pass)?.as_ref().err().cloned())
    }

    /// How often the library was asked for a plan so far.
    pub fn plans_made(&self) -> u64 {
        self.held().made
    }

    fn held(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn planned<'a>(&self, plans: &'a mut Plans, shape: &AttentionShape, pass: Pass) -> Result<&'a Planned, Error> {
        let key = (*shape, pass);
        if !plans.kept.contains_key(&key) {
            if plans.kept.len() >= MOST {
                plans.kept.clear();
            }
            self.device.refuse_in_capture("an attention of a new shape cannot be planned")?;
            plans.made += 1;
            let made = match Plan::new(&self.calls, &Target::Handle(self.raw), shape, pass) {
                Ok(plan) if plan.bytes > self.limit => {
                    Err(format!("it wants {} bytes of working memory, more than {}", plan.bytes, self.limit))
                }
                Ok(plan) => Ok(plan),
                Err(Trouble::Refused(reason)) => Err(reason),
                Err(Trouble::Failed(failure)) => return Err(self.told(shape, &failure)),
            };
            plans.kept.insert(key, made);
        }
        Ok(&plans.kept[&key])
    }

    fn told(&self, shape: &AttentionShape, failure: &Failure) -> Error {
        let AttentionShape { dtype, queries, keys, batch, heads, key_heads, head_dim, .. } = shape;
        let what =
            format!("{queries} queries and {keys} keys of {batch} samples, {heads} heads and {key_heads} of keys, {head_dim} channels");
        let remedy = "See what the device has told before, or set MEGATRON_ATTENTION=kernel.";
        let told = format!("attention of {what}, {}: {}. {remedy}", dtype.name(), failure.told(&self.calls));
        Error::new(Code::Attention, told)
    }
}

impl Drop for Dnn {
    fn drop(&mut self) {
        self.held().kept.clear();
        // SAFETY: the handle lives, and nobody uses it any more.
        _ = self.device.enter().map(|()| unsafe { (self.calls.cudnnDestroy)(self.raw) });
    }
}
