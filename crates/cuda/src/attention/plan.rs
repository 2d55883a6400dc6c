//! How one kind of attention is carried out: its graph, and the first of the library's proposals that it can prepare.

use super::backward::backward;
use super::bound::{AttentionInputs, AttentionOutputs, Role};
use super::calls::Calls;
use super::descriptor::{Descriptor, Failure};
use super::forward::forward;
use super::graph::{Built, Graph};
use super::shape::{AttentionShape, Pass};
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type, cudnnBackendDescriptorType_t as Kind,
    cudnnBackendHeurMode_t as Heuristic, cudnnHandle_t,
};
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

/// Proposals that are looked at.
const PROPOSALS: usize = 8;
/// What the graph's own tensors and the workspace begin at.
const ALIGNMENT: usize = 256;

/// For whom is planned.
pub(super) enum Target<'a> {
    Handle(cudnnHandle_t),
    /// Properties of a device that is not there.
    Properties(&'a Descriptor),
}

/// A prepared pass of all attentions with one shape.
pub(super) struct Plan {
    calls: Arc<Calls>,
    plan: Descriptor,
    built: Built,
    _config: Descriptor,
    /// Where the graph's own tensors lie in a run's memory, by the library's numbers.
    own: Vec<(i64, usize)>,
    /// Where the library's workspace does, and all bytes of a run.
    workspace: usize,
    pub bytes: usize,
}

/// Planning that ends without a plan.
pub(super) enum Trouble {
    /// The library does not do this; why not.
    Refused(String),
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Failed(failure)
    }
}

fn room(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

impl Plan {
    pub fn new(calls: &Arc<Calls>, target: &Target, shape: &AttentionShape, pass: Pass) -> Result<Plan, Trouble> {
        let mut graph = Graph::new(calls, shape);
        let built = match pass {
            Pass::Forward => forward(&mut graph),
            Pass::Backward { is_fixed } => backward(&mut graph, is_fixed),
        };
        let handle = match target {
            Target::Handle(handle) => Some(*handle),
            Target::Properties(_) => None,
        };
        let built = built.and_then(|()| graph.build(handle)).map_err(|failure| refused(calls, failure))?;
        let (plan, config) = prepare(calls, target, &built)?;
        let told = plan.number(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?;
        let (mut own, mut end) = (Vec::new(), 0);
        for &(role, number) in built.bound.iter().filter(|(role, _)| matches!(role, Role::Delta | Role::Sum)) {
            own.push((number, end));
            end += room(role.form(shape).map_or(0, |form| AttentionShape::span(&form) * size_of::<f32>()));
        }
        let bytes = end + usize::try_from(told).unwrap_or(0);
        Ok(Plan { calls: Arc::clone(calls), plan, built, _config: config, own, workspace: end, bytes })
    }

    /// Asks the handle's stream for it; `memory` is the address of as many bytes as the plan wants.
    pub fn run(&self, handle: cudnnHandle_t, memory: u64, inputs: &AttentionInputs, outputs: &AttentionOutputs) -> Result<(), Failure> {
        let numbers: Vec<Option<f32>> = self.built.bound.iter().map(|(role, _)| role.number(inputs)).collect();
        let at = |offset: usize| ptr::without_provenance_mut::<c_void>(memory as usize + offset);
        let places: Vec<*mut c_void> = (self.built.bound.iter().zip(&numbers))
            .map(|(&(role, number), value)| match (value, role.part(inputs, outputs)) {
                (Some(value), _) => ptr::from_ref(value).cast_mut().cast(),
                (None, Some(part)) => part.raw(),
                (None, None) => self.own.iter().find(|(own, _)| *own == number).map_or(ptr::null_mut(), |(_, offset)| at(*offset)),
            })
            .collect();
        let ids: Vec<i64> = self.built.bound.iter().map(|(_, number)| *number).collect();
        let pack = Descriptor::new(&self.calls, Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?;
        pack.set_numbers(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &ids)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, Type::CUDNN_TYPE_VOID_PTR, &places)?;
        pack.set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, Type::CUDNN_TYPE_VOID_PTR, &[at(self.workspace)])?;
        let pack = pack.finish()?;
        // SAFETY: memory was checked against the shape and is used in the order of the stream; the numbers are read before this returns.
        let status = unsafe { (self.calls.cudnnBackendExecute)(handle, self.plan.raw, pack.raw) };
        Failure::of(&self.calls, "cudnnBackendExecute", status)
    }
}

fn refused(calls: &Calls, failure: Failure) -> Trouble {
    if failure.is_refusal() { Trouble::Refused(failure.told(calls)) } else { Trouble::Failed(failure) }
}

/// The first proposal that can be prepared.
fn prepare(calls: &Arc<Calls>, target: &Target, built: &Built) -> Result<(Descriptor, Descriptor), Trouble> {
    let configs = propose(calls, target, built).map_err(|failure| refused(calls, failure))?;
    let mut first = None;
    for config in configs {
        match finish(calls, target, &config) {
            Ok(plan) => return Ok((plan, config)),
            Err(failure) if failure.is_refusal() => _ = first.get_or_insert_with(|| failure.told(calls)),
            Err(failure) => return Err(Trouble::Failed(failure)),
        }
    }
    Err(Trouble::Refused(first.unwrap_or_else(|| "it proposes no algorithm".into())))
}

fn propose(calls: &Arc<Calls>, target: &Target, built: &Built) -> Result<Vec<Descriptor>, Failure> {
    let heuristic = Descriptor::new(calls, Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?;
    heuristic.set_descriptor(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &built.graph)?;
    heuristic.set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, Type::CUDNN_TYPE_HEUR_MODE, &[Heuristic::CUDNN_HEUR_MODE_A])?;
    if let Target::Properties(properties) = target {
        heuristic.set_descriptor(Name::CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, properties)?;
    }
    let heuristic = heuristic.finish()?;
    let made = (0..PROPOSALS).map(|_| Descriptor::new(calls, Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    let mut configs = made.collect::<Result<Vec<_>, Failure>>()?;
    let count = heuristic.descriptors(Name::CUDNN_ATTR_ENGINEHEUR_RESULTS, &configs)?;
    configs.truncate(count);
    Ok(configs)
}

fn finish(calls: &Arc<Calls>, target: &Target, config: &Descriptor) -> Result<Descriptor, Failure> {
    let plan = Descriptor::new(calls, Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
    match target {
        Target::Handle(handle) => plan.set(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, Type::CUDNN_TYPE_HANDLE, &[*handle])?,
        Target::Properties(properties) => plan.set_descriptor(Name::CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, properties)?,
    }
    plan.set_descriptor(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config)?;
    plan.finish()
}
