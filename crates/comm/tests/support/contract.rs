//! What every backend keeps, as one function of a rank: all kinds of operations, types and sizes against the serial reference, bit by bit.

use super::bits;
use super::reference::{Element, Hash, blank, element, filled, reduced};
use megatron_comm::{Blocks, Group, Kind, Label, ReduceOp, Request, World};
use storage::{DType, Span};

const OPS: [ReduceOp; 5] = [ReduceOp::Sum, ReduceOp::Avg, ReduceOp::Max, ReduceOp::Min, ReduceOp::Product];

/// The hash of all results of a world of this size, whatever moves the data.
pub const HASHES: [(u32, u64); 3] = [(2, 0x339f_4881_6788_2279), (3, 0xf718_d987_8e56_f2e5), (4, 0x7588_6540_a8fb_d696)];

/// What is asked of a world: less of a large one.
struct Extent {
    /// Nothing, one, odd numbers, and more than fits into the small chunks of these tests.
    counts: &'static [usize],
    /// Whether every type meets every reduction.
    is_full: bool,
    /// Elements of operations that are longer than the usual chunks.
    large: usize,
    rounds: usize,
}

impl Extent {
    fn new(size: usize) -> Self {
        match size {
            0..=5 => Self { counts: &[0, 1, 3, 257, 1024, 3001], is_full: true, large: 300_007, rounds: 5 },
            6..=16 => Self { counts: &[0, 1, 257, 1031], is_full: false, large: 50_003, rounds: 2 },
            _ => Self { counts: &[0, 1, 129], is_full: false, large: 1003, rounds: 1 },
        }
    }
}

/// Waits for an operation and puts its results where the request said; panics when it failed.
pub type Pending = Box<dyn FnOnce()>;
/// How requests reach a group.
pub type Carry<'a> = &'a dyn Fn(&Group, Request) -> Pending;

/// On the memory that the request names.
pub fn on_host(group: &Group, request: Request) -> Pending {
    let work = group.submit(request, Label::EMPTY).unwrap_or_else(|error| panic!("{error}"));
    Box::new(move || work.wait(None).unwrap_or_else(|failure| panic!("{failure}")))
}

/// A group as one of its ranks sees it.
struct Member<'a> {
    group: Group,
    carry: Carry<'a>,
    /// World ranks.
    ranks: Vec<u32>,
    me: usize,
    hash: Hash,
}

impl<'a> Member<'a> {
    fn open((world, carry): (&World, Carry<'a>), name: &str, ranks: &[u32]) -> Self {
        let group = world.open(name, ranks).unwrap();
        let me = group.rank();
        Self { group, carry, ranks: ranks.to_vec(), me, hash: Hash::default() }
    }

    fn size(&self) -> usize {
        self.ranks.len()
    }

    fn even(&self, count: usize) -> Blocks {
        Blocks::even(count, self.size())
    }

    fn own(&self, dtype: DType, count: usize) -> Span {
        filled(dtype, self.ranks[self.me], 0, count)
    }

    fn run(&self, request: Request) {
        self.submit(request)();
    }

    fn submit(&self, request: Request) -> Pending {
        (self.carry)(&self.group, request)
    }

    /// Compares a result with what it should be, and adds it to the hash.
    fn expect(&mut self, what: &str, span: &Span, expected: impl Iterator<Item = Element>) {
        let size = span.dtype().size();
        let expected: Vec<u8> = expected.flat_map(|element| element.into_iter().take(size)).collect();
        let (name, count, ranks) = (span.dtype().name(), span.len(), &self.ranks);
        assert!(span.bytes() == expected, "{what} of {name}[{count}] over ranks {ranks:?} differs from the reference on {}", self.me);
        self.hash.add(span.bytes());
    }

    fn reductions(&mut self, dtype: DType, op: ReduceOp, count: usize, root: usize) {
        let (ranks, me) = (self.ranks.clone(), self.me);
        let sum = |place| reduced(dtype, op, &ranks, place);
        let name = |kind: &str| format!("{kind} {}", op.name());
        let data = self.own(dtype, count);
        self.run(Request::AllReduce { data: data.clone(), op });
        self.expect(&name("allReduce"), &data, (0..count).map(sum));

        let data = self.own(dtype, count);
        self.run(Request::Reduce { data: data.clone(), op, root });
        let kept = |place| if me == root { sum(place) } else { element(dtype, ranks[me], place) };
        self.expect(&name("reduce"), &data, (0..count).map(kept));

        let (source, target) = (self.own(dtype, count * self.size()), blank(dtype, count));
        self.run(Request::ReduceScatter { source, target: target.clone(), op, blocks: self.even(count) });
        self.expect(&name("reduceScatter"), &target, (me * count..(me + 1) * count).map(sum));
    }

    /// Everything that moves blocks of which each rank has its own: even ones, or uneven ones.
    fn gathers(&mut self, dtype: DType, blocks: &Blocks, root: usize) {
        let (ranks, me) = (self.ranks.clone(), self.me);
        let counts: Vec<usize> = blocks.counts().collect();
        let gathered = || ranks.iter().zip(&counts).flat_map(|(&rank, &count)| (0..count).map(move |place| element(dtype, rank, place)));
        let target = blank(dtype, blocks.total());
        self.run(Request::AllGather { source: self.own(dtype, counts[me]), target: target.clone(), blocks: blocks.clone() });
        self.expect("allGather", &target, gathered());

        let target = (me == root).then(|| blank(dtype, blocks.total()));
        self.run(Request::Gather { source: self.own(dtype, counts[me]), target: target.clone(), root, blocks: blocks.clone() });
        if let Some(target) = target {
            self.expect("gather", &target, gathered());
        }

        let source = (me == root).then(|| self.own(dtype, blocks.total()));
        let target = blank(dtype, counts[me]);
        self.run(Request::Scatter { source, target: target.clone(), root, blocks: blocks.clone() });
        self.expect("scatter", &target, blocks.of(me).map(|place| element(dtype, ranks[root], place)));

        let (source, target) = (self.own(dtype, blocks.total()), blank(dtype, counts[me]));
        self.run(Request::ReduceScatter { source, target: target.clone(), op: ReduceOp::Sum, blocks: blocks.clone() });
        self.expect("reduceScatter by blocks", &target, blocks.of(me).map(|place| reduced(dtype, ReduceOp::Sum, &ranks, place)));
    }

    fn broadcast(&mut self, dtype: DType, count: usize, root: usize) {
        let rank = self.ranks[root];
        let data = if self.me == root { self.own(dtype, count) } else { blank(dtype, count) };
        self.run(Request::Broadcast { data: data.clone(), root });
        self.expect("broadcast", &data, (0..count).map(|place| element(dtype, rank, place)));
    }

    /// `count(from, to)` elements go from each rank to each.
    fn all_to_all(&mut self, dtype: DType, count: impl Fn(usize, usize) -> usize) {
        let (ranks, me, size) = (self.ranks.clone(), self.me, self.size());
        let blocks = |counts: Vec<usize>| Blocks::of_counts(&counts).unwrap();
        let send = blocks((0..size).map(|to| count(me, to)).collect());
        let receive = blocks((0..size).map(|from| count(from, me)).collect());
        let (source, target) = (self.own(dtype, send.total()), blank(dtype, receive.total()));
        self.run(Request::AllToAll { source, target: target.clone(), send, receive });
        let expected = (0..size).flat_map(|from| {
            let start: usize = (0..me).map(|to| count(from, to)).sum();
            let rank = ranks[from];
            (start..start + count(from, me)).map(move |place| element(dtype, rank, place))
        });
        self.expect("allToAll", &target, expected);
    }

    /// The smaller memory is this rank's own block of the larger one.
    fn in_place(&mut self, blocks: &Blocks, root: usize) {
        let (ranks, me, dtype, op) = (self.ranks.clone(), self.me, DType::F32, ReduceOp::Sum);
        let own = |whole: &Span| whole.alias(blocks.of(me).start, blocks.of(me).len()).unwrap();
        let whole = self.own(dtype, blocks.total());
        self.run(Request::ReduceScatter { source: whole.clone(), target: own(&whole), op, blocks: blocks.clone() });
        self.run(Request::AllGather { source: own(&whole), target: whole.clone(), blocks: blocks.clone() });
        self.expect("in place", &whole, (0..blocks.total()).map(|place| reduced(dtype, op, &ranks, place)));

        let whole = (me == root).then(|| self.own(dtype, blocks.total()));
        let part = whole.as_ref().map_or_else(|| blank(dtype, blocks.of(me).len()), own);
        self.run(Request::Scatter { source: whole.clone(), target: part.clone(), root, blocks: blocks.clone() });
        self.run(Request::Gather { source: part, target: whole.clone(), root, blocks: blocks.clone() });
        if let Some(whole) = whole {
            self.expect("there and back", &whole, (0..blocks.total()).map(|place| element(dtype, ranks[root], place)));
        }
    }

    /// Neighbours in a ring send to each other in both directions, and everyone to itself.
    fn exchange(&mut self, count: usize) {
        let (ranks, me, size) = (self.ranks.clone(), self.me, self.size());
        let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
        let message = |rank: usize, from: usize| filled(DType::F32, ranks[rank], from, count);
        let received = [0; 3].map(|_| blank(DType::F32, count));
        let [up, down, own] = received.clone();
        let sends = vec![(next, message(me, 0)), (previous, message(me, 7)), (me, message(me, 9))];
        self.run(Request::Exchange { sends, receives: vec![(previous, up), (next, down), (me, own)], kind: Kind::Exchange });
        for (span, (rank, from)) in received.iter().zip([(previous, 0), (next, 7), (me, 9)]) {
            self.expect("exchange", span, (from..from + count).map(|place| element(DType::F32, ranks[rank], place)));
        }
    }

    /// Single messages go round the ring, several under way at once between a pair, beside a collective.
    fn messages(&mut self) {
        let (ranks, me, size) = (self.ranks.clone(), self.me, self.size());
        let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
        let counts = [5, 5000, 1, 0, 20_000];
        let mut works = Vec::new();
        let mut received = Vec::new();
        for (index, &count) in counts.iter().enumerate() {
            let target = blank(DType::F32, count);
            let (send, receive) = (vec![(next, filled(DType::F32, ranks[me], index, count))], vec![(previous, target.clone())]);
            let mut requests = [
                Request::Exchange { sends: send, receives: vec![], kind: Kind::Send },
                Request::Exchange { sends: vec![], receives: receive, kind: Kind::Receive },
            ];
            if me % 2 == 1 {
                requests.reverse();
            }
            works.extend(requests.map(|request| self.submit(request)));
            received.push(target);
        }
        let data = self.own(DType::F32, 3000);
        self.run(Request::AllReduce { data: data.clone(), op: ReduceOp::Sum });
        self.expect("allReduce beside messages", &data, (0..3000).map(|place| reduced(DType::F32, ReduceOp::Sum, &ranks, place)));
        works.into_iter().for_each(|work| work());
        for (index, span) in received.iter().enumerate() {
            let places = index..index + counts[index];
            self.expect("message", span, places.map(|place| element(DType::F32, ranks[previous], place)));
        }
    }

    /// What every group is asked, whatever its ranks are.
    fn basics(&mut self, dtype: DType, count: usize) {
        let root = count % self.size();
        self.reductions(dtype, ReduceOp::Sum, count, root);
        self.gathers(dtype, &self.even(count), root);
        self.gathers(dtype, &uneven(self.size(), count), root);
        self.broadcast(dtype, count, root);
        self.all_to_all(dtype, |_, _| count);
        self.run(Request::Barrier);
    }
}

/// Very different counts up to about twice `count`, some of them none.
fn uneven(size: usize, count: usize) -> Blocks {
    let counts: Vec<usize> = (0..size).map(|rank| [2 * count + 1, 0, count / 3, count][(rank + count) % 4]).collect();
    Blocks::of_counts(&counts).unwrap()
}

/// How many elements `from` sends to `to`.
fn uneven_pair(from: usize, to: usize) -> usize {
    [0, 1, 700, 13, 4001][(from * 3 + to * 2) % 5]
}

/// The ranks of the world in an order of their own.
fn shuffled(size: u32, seed: u32) -> Vec<u32> {
    let mut ranks: Vec<u32> = (0..size).collect();
    ranks.sort_by_key(|&rank| bits(seed, rank as usize));
    ranks
}

fn whole_world(all: &mut Member, extent: &Extent) {
    let size = all.size();
    for (index, dtype) in DType::ALL.into_iter().enumerate() {
        for &count in extent.counts {
            for op in OPS.into_iter().enumerate().filter(|(place, _)| extent.is_full || place % 5 == index % 5).map(|(_, op)| op) {
                all.reductions(dtype, op, count, (count + index) % size);
            }
            all.gathers(dtype, &all.even(count), (count + index) % size);
            all.broadcast(dtype, count, (count + index) % size);
            all.all_to_all(dtype, |_, _| count);
        }
        all.run(Request::Barrier);
    }
    let step = size.div_ceil(5);
    for root in (0..size).step_by(step) {
        all.reductions(DType::BF16, ReduceOp::Sum, 311, root);
        all.gathers(DType::U8, &uneven(size, 101), root);
        all.gathers(DType::F64, &all.even(77), root);
        all.in_place(&all.even(250), root);
        all.in_place(&uneven(size, 97), root);
        all.broadcast(DType::F16, 301, root);
    }
    all.all_to_all(DType::F32, uneven_pair);
    all.all_to_all(DType::U8, |from, to| (from + to) % 3);
    for count in [0, 1, 1023, extent.large / 6] {
        all.exchange(count);
    }
    if size > 1 {
        all.messages();
    }
}

/// Operations longer than the usual chunks.
fn long(all: &mut Member, count: usize) {
    let last = all.size() - 1;
    all.reductions(DType::F32, ReduceOp::Sum, count, last);
    all.gathers(DType::U8, &uneven(all.size(), count), last);
    all.broadcast(DType::BF16, count, last);
    all.all_to_all(DType::F32, |from, to| count / 4 * (1 + (from + to) % 2));
    all.exchange(count);
}

/// Sub-groups from lists in any order, one after the other.
fn sub_groups(place: (&World, Carry), rank: u32, size: u32, seed: u32) -> Hash {
    let mut hash = Hash::default();
    let shuffled = shuffled(size, seed);
    let half = shuffled.len().div_ceil(2);
    let backwards: Vec<u32> = (0..size).rev().collect();
    let lists = [&shuffled[..], &shuffled[..half], &shuffled[half..], &backwards[..half], &backwards[half / 2..]];
    for (index, list) in lists.into_iter().enumerate().filter(|(_, list)| list.contains(&rank)) {
        let mut member = Member::open(place, "part", list);
        for (dtype, count) in [(DType::F32, 1), (DType::F16, 700 + index)] {
            member.basics(dtype, count);
        }
        member.group.close();
        hash.add(&member.hash.0.to_le_bytes());
    }
    hash
}

/// Several groups at once with operations under way in all of them, submitted in another order by each rank, waited for in yet another.
fn side_by_side(place: (&World, Carry), rank: u32, size: u32, (seed, rounds): (u32, usize)) -> Hash {
    let halves = shuffled(size, seed + 1);
    let (first, second) = halves.split_at(halves.len().div_ceil(2));
    let half = if first.contains(&rank) { first } else { second };
    let backwards: Vec<u32> = (0..size).rev().collect();
    let everyone: Vec<u32> = (0..size).collect();
    let mut members =
        [("all", &everyone[..]), ("half", half), ("backwards", &backwards[..])].map(|(name, ranks)| Member::open(place, name, ranks));
    for round in 0..rounds {
        let mut under_way = Vec::new();
        for turn in 0..members.len() {
            let index = (turn + rank as usize + round) % members.len();
            let member = &members[index];
            for count in [1, 5000, 70] {
                let data = member.own(DType::F32, count);
                under_way.push((index, data.clone(), member.submit(Request::AllReduce { data, op: ReduceOp::Sum })));
            }
            under_way.push((index, blank(DType::U8, 0), member.submit(Request::Barrier)));
        }
        let (places, works): (Vec<_>, Vec<_>) = under_way.into_iter().map(|(index, data, work)| ((index, data), work)).unzip();
        works.into_iter().rev().for_each(|work| work());
        for (index, data) in places.iter().filter(|(_, data)| data.dtype() == DType::F32) {
            let ranks = members[*index].ranks.clone();
            let expected = (0..data.len()).map(|place| reduced(DType::F32, ReduceOp::Sum, &ranks, place));
            // Each rank submits in an order of its own: results are hashed by group below.
            members[*index].expect("allReduce side by side", data, expected);
        }
    }
    let mut hash = Hash::default();
    members.iter().for_each(|member| hash.add(&member.hash.0.to_le_bytes()));
    members.iter().for_each(|member| member.group.close());
    hash
}

/// Runs everything as one rank of a new world; returns the hash of all ranks' results.
pub fn keep(world: &World, rank: u32, size: u32, seed: u32) -> u64 {
    keep_by((world, &on_host), rank, size, seed)
}

/// As above, where requests reach the groups in a way of their own.
pub fn keep_by(place: (&World, Carry), rank: u32, size: u32, seed: u32) -> u64 {
    let extent = Extent::new(size as usize);
    let everyone: Vec<u32> = (0..size).collect();
    let mut all = Member::open(place, "all", &everyone);
    whole_world(&mut all, &extent);
    long(&mut all, extent.large);
    let parts = [all.hash, sub_groups(place, rank, size, seed), side_by_side(place, rank, size, (seed, extent.rounds))];
    let mut own = Hash::default();
    parts.iter().for_each(|part| own.add(&part.0.to_le_bytes()));
    let hashes = blank(DType::I64, size as usize);
    let source = Span::from_slice(DType::I64, &[own.0 as i64]).unwrap();
    all.run(Request::AllGather { source, target: hashes.clone(), blocks: all.even(1) });
    let mut hash = Hash::default();
    hash.add(hashes.bytes());
    hash.0
}
