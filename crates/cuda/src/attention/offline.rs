//! Plans for a device that is not there, by which a machine without one sees whether the library knows our graphs.

use super::calls::Calls;
use super::descriptor::{Descriptor, Failure};
use super::plan::{Plan, Target, Trouble};
use super::shape::{AttentionShape, Pass};
use crate::library::{Environment, Kind, scan};
use cudarc::cudnn::sys::{cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type, cudnnBackendDescriptorType_t as Kinds};
use std::sync::Arc;

/// The bytes of working memory that the library of this environment plans for a pass on a device with these properties, which are those that
/// cuDNN writes as JSON; or its words.
pub fn plan_without_device(environment: &Environment, properties: &str, shape: &AttentionShape, pass: Pass) -> Result<usize, String> {
    let found = scan(environment);
    let (library, _) = found.with_version(Kind::Cudnn)?;
    let calls = Arc::new(Calls::find(library).map_err(|error| error.message)?);
    shape.check().map_err(|error| error.message)?;
    let told = |failure: Failure| failure.told(&calls);
    let made = Descriptor::new(&calls, Kinds::CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR).map_err(told)?;
    let text: Vec<u8> = properties.bytes().chain([0]).collect();
    made.set(Name::CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, Type::CUDNN_TYPE_CHAR, &text).map_err(told)?;
    let made = made.finish().map_err(told)?;
    match Plan::new(&calls, &Target::Properties(&made), shape, pass) {
        Ok(plan) => Ok(plan.bytes),
        Err(Trouble::Refused(reason)) => Err(reason),
        Err(Trouble::Failed(failure)) => Err(told(failure)),
    }
}
