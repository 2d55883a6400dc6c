//! The proposals and the product itself, with everything that it was given in one line of the log.

use super::descriptors::{Matrix, Operation, Preference};
use super::multiply::{Operands, fits, multiply};
use super::{INVALID_VALUE, NOT_SUPPORTED};
use crate::neighbour;
use crate::state::call;
use std::ffi::{c_int, c_void};
use std::ptr;

const TRANSPOSE: [u32; 2] = [3, 4];
const EPILOGUE: u32 = 7;
const VECTOR: u32 = 8;
const SAVED: u32 = 11;
const SAVED_LEAD: u32 = 12;
/// Those of a preference: workspace, alignment of A, of B, of D.
const LIMITS: [u32; 4] = [1, 5, 6, 8];

/// An algorithm: its number is the first word.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Algorithm([u64; 8]);

/// What is proposed.
#[repr(C)]
pub struct Proposal {
    algorithm: Algorithm,
    workspace: usize,
    status: u32,
    waves: f32,
    reserved: [c_int; 4],
}

/// # Safety
/// As in cuBLASLt, for all functions below.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn cublasLtMatmulAlgoGetHeuristic(
    _handle: *mut c_void,
    operation: *const Operation,
    a: *const Matrix,
    _b: *const Matrix,
    _c: *const Matrix,
    d: *const Matrix,
    preference: *const Preference,
    room: c_int,
    proposals: *mut Proposal,
    count: *mut c_int,
) -> u32 {
    call("cublasLtMatmulAlgoGetHeuristic", |state| {
        // SAFETY: the caller's promise.
        let (operation, a, d, preference) = unsafe { (&*operation, &*a, &*d, &*preference) };
        let [workspace, of_a, of_b, of_d] = LIMITS.map(|which| preference.0.get(&which).copied().unwrap_or(0));
        state.note(format!("propose {room} within {workspace} alignment {of_a} {of_b} {of_d}"));
        if a.rows == 0 || d.rows == 0 {
            return INVALID_VALUE;
        }
        // As on devices: fused kernels want rows of 16 bytes.
        if operation.get(EPILOGUE) > 1 && d.lead % 4 != 0 {
            return NOT_SUPPORTED;
        }
        let made = room.min(state.settings.proposals);
        for at in 0..made {
            let number = u64::from(at.unsigned_abs());
            let algorithm = Algorithm([number, 0, 0, 0, 0, 0, 0, 0]);
            let workspace = usize::try_from(number * 1024).unwrap_or(0);
            let proposal = Proposal { algorithm, workspace, status: 0, waves: 1.0, reserved: [0; 4] };
            // SAFETY: the caller's promise: there is room for as many.
            unsafe { proposals.add(at.unsigned_abs() as usize).write(proposal) };
        }
        // SAFETY: as above.
        unsafe { count.write(made) };
        0
    })
}

fn described(matrix: &Matrix) -> String {
    let Matrix { dtype, rows, columns, lead, .. } = matrix;
    let batch = if matrix.batches() > 1 { format!(" x{} by {}", matrix.batches(), matrix.step()) } else { String::new() };
    format!("{rows}x{columns}/{lead} t{dtype}{batch}")
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn cublasLtMatmul(
    _handle: *mut c_void,
    operation: *const Operation,
    alpha: *const c_void,
    a: *const c_void,
    a_layout: *const Matrix,
    b: *const c_void,
    b_layout: *const Matrix,
    beta: *const c_void,
    _c: *const c_void,
    _c_layout: *const Matrix,
    d: *mut c_void,
    d_layout: *const Matrix,
    algorithm: *const Algorithm,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> u32 {
    let mut product = None;
    let status = call("cublasLtMatmul", |state| {
        // SAFETY: the caller's promise.
        let (operation, layouts) = unsafe { (&*operation, [a_layout, b_layout, d_layout].map(|layout| (*layout).clone())) };
        let is_double = operation.scale == 1;
        // SAFETY: as above; scales have the type of the sums.
        let scales = [alpha, beta]
            .map(|scale| unsafe { if is_double { scale.cast::<f64>().read() } else { f64::from(scale.cast::<f32>().read()) } });
        let transposed = TRANSPOSE.map(|which| operation.get(which) == 1);
        // SAFETY: as above.
        let number = unsafe { (*algorithm).0[0] };
        let epilogue = operation.get(EPILOGUE).max(1);
        let letters = transposed.map(|is| if is { 'T' } else { 'N' });
        state.note(format!(
            "matmul {}{} compute {} scale {} A {} B {} D {} epilogue {epilogue} aux/{} alpha {} beta {} algorithm {number} workspace {} in stream {}",
            letters[0],
            letters[1],
            operation.compute,
            operation.scale,
            described(&layouts[0]),
            described(&layouts[1]),
            described(&layouts[2]),
            operation.get(SAVED_LEAD),
            scales[0],
            scales[1],
            if workspace.is_null() { 0 } else { workspace_bytes },
            stream.addr(),
        ));
        let places = [a.expose_provenance(), b.expose_provenance(), d.expose_provenance()];
        let [vector, saved, lead] = [VECTOR, SAVED, SAVED_LEAD].map(|which| operation.get(which) as usize);
        let operands = Operands { layouts, places, transposed, scales, epilogue, vector, saved, lead };
        if !fits(&operands) {
            return INVALID_VALUE;
        }
        product = Some(operands);
        0
    });
    // Without the lock: the driver may carry it out at once.
    if let Some(operands) = product {
        let ticket = Box::into_raw(Box::new(operands)).expose_provenance();
        let visit = if neighbour::is_captured(stream.addr()) { carry_out_again } else { carry_out };
        neighbour::enqueue(stream.addr(), visit, ticket);
    }
    status
}

extern "C" fn carry_out(ticket: usize) -> bool {
    // SAFETY: the ticket came from `into_raw`, and its turn comes once.
    let operands = unsafe { Box::from_raw(ptr::with_exposed_provenance_mut::<Operands>(ticket)) };
    multiply(&operands);
    true
}

/// Of a graph, which may be launched as long as the process lives: so long does the ticket.
extern "C" fn carry_out_again(ticket: usize) -> bool {
    // SAFETY: the ticket came from `into_raw`, and nobody ends it.
    multiply(unsafe { &*ptr::with_exposed_provenance::<Operands>(ticket) });
    true
}
