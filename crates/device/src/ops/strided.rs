//! Between a dense tensor and a strided part of another.

use super::expect::expect;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use crate::variants::bits;
use kernels::layout::Layout;
use std::sync::Arc;
use storage::Span;

/// The elements of a view, dense.
pub fn gather_view(on: &Arc<Accelerator>, x: &Span, view: &Layout<1>) -> Result<Span, String> {
    view.check([x.len()])?;
    let y = on.empty(x.dtype(), view.numel())?;
    let arguments = [Argument::count(view.numel()), Argument::walk(view), memory(x), memory(&y)];
    let (variant, extents) = (bits(x.dtype()), [view.numel()]);
    on.launch(&Call { unit: "strided", variant, kernel: "gather_view", extents: &extents, arguments: &arguments })?;
    Ok(y)
}

/// Places that do not coincide, and at each of them the elements that meet there, both as walks of the place (operand 0) and of the
/// dense tensor (operand 1). Where a view overlaps itself otherwise than by repeating, one thread goes through all of it.
pub(crate) fn kept_and_repeated(view: &Layout<1>) -> Result<[Layout<2>; 2], String> {
    let (dims, strides) = (view.dims(), view.strides(0));
    let dense: Vec<usize> = (0..dims.len()).map(|dim| dims[dim + 1..].iter().product()).collect();
    let some = |wanted: &dyn Fn(usize) -> bool, offset: usize| {
        let chosen: Vec<usize> = (0..dims.len()).filter(|&dim| wanted(dim)).collect();
        let [dims, strides, dense] = [dims, strides, &dense].map(|of| chosen.iter().map(|&dim| of[dim]).collect::<Vec<_>>());
        Layout::new(&dims, [&strides, &dense], [offset, 0])
    };
    let kept = some(&|dim| strides[dim] != 0, view.offset(0))?;
    if kept.is_injective(0) {
        return Ok([kept, some(&|dim| strides[dim] == 0, 0)?]);
    }
    Ok([some(&|_| false, view.offset(0))?, some(&|_| true, 0)?])
}

fn scatter(
    on: &Accelerator,
    (unit, variant, kernel): (&'static str, &'static str, &'static str),
    [dst, src]: [&Span; 2],
    view: &Layout<1>,
) -> Result<(), String> {
    view.check([dst.len()])?;
    expect("strided", "the source", src, dst.dtype(), &[view.numel()])?;
    let [kept, repeats] = kept_and_repeated(view)?;
    let counts = [kept.numel(), repeats.numel()].map(Argument::count);
    let arguments: Vec<Argument> =
        counts.into_iter().chain([Argument::walk(&kept), Argument::walk(&repeats), memory(src), memory(dst)]).collect();
    on.launch(&Call { unit, variant, kernel, extents: &[kept.numel()], arguments: &arguments })
}

/// dst[view[i]] = src[i]; where places coincide the last one stays.
pub fn scatter_set(on: &Accelerator, dst: &Span, src: &Span, view: &Layout<1>) -> Result<(), String> {
    scatter(on, ("strided", bits(dst.dtype()), "scatter_set"), [dst, src], view)
}

/// dst[view[i]] += src[i]; where places coincide in the order of i.
pub fn scatter_add(on: &Accelerator, dst: &Span, src: &Span, view: &Layout<1>) -> Result<(), String> {
    scatter(on, ("strided_sums", dst.dtype().name(), "scatter_add"), [dst, src], view)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each place of the view with its dense element, in the order in which a place meets its elements.
    fn met(view: &Layout<1>) -> Vec<(usize, usize)> {
        let [kept, repeats] = kept_and_repeated(view).unwrap();
        let all = (0..kept.numel()).flat_map(|number| {
            let [place, element] = kept.places(number);
            let repeats = &repeats;
            (0..repeats.numel()).map(move |number| repeats.places(number)).map(move |[a, b]| (place + a, element + b)).collect::<Vec<_>>()
        });
        all.collect()
    }

    #[test]
    fn the_two_walks_visit_every_element_once_and_every_place_in_order() {
        let views: [(&[usize], &[usize], usize); 5] =
            [(&[4, 5], &[5, 1], 0), (&[4, 3, 6], &[12, 0, 1], 2), (&[3, 4], &[0, 0], 7), (&[5, 4], &[1, 1], 0), (&[0, 4], &[4, 1], 0)];
        for (dims, strides, offset) in views {
            let view = Layout::<1>::new(dims, [strides], [offset]).unwrap();
            let (got, mut sorted) = (met(&view), met(&view));
            sorted.sort_by_key(|&(_, element)| element);
            let want: Vec<(usize, usize)> = (0..view.numel()).map(|number| (view.places(number)[0], number)).collect();
            assert_eq!(sorted, want, "{dims:?} {strides:?}");
            for place in 0..=40 {
                let elements: Vec<usize> = got.iter().filter(|met| met.0 == place).map(|met| met.1).collect();
                assert!(elements.is_sorted(), "{dims:?} {strides:?}: {place} meets {elements:?}");
            }
        }
    }

    #[test]
    fn threads_never_share_a_place() {
        for (dims, strides) in [([4, 6], [6, 1]), ([4, 6], [0, 1]), ([5, 4], [1, 1]), ([5, 4], [2, 1])] {
            let [kept, _] = kept_and_repeated(&Layout::<1>::new(&dims, [&strides], [0]).unwrap()).unwrap();
            let mut places: Vec<usize> = (0..kept.numel()).map(|number| kept.places(number)[0]).collect();
            places.sort_unstable();
            assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{dims:?} {strides:?}");
        }
    }
}
