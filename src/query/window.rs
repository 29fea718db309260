//! Windows sliding over one series' samples, decoded once and in order.
//!
//! Owns the buffer and the two cursors that bound a window; what a window's samples become is a [`Kernel`]'s. The
//! buffer holds what the current window and the ones still open need, and a few thousand samples more, so that a series
//! of any length is folded in the caches.
//! ```text
//! samples   . . . . . [ . . . . . . . . ] . . .          buffered: from lo on
//!                     lo                hi
//! window            (start             end]              left-open
//! ```

use super::cursor::Cursor;
use super::functions::many::MANY;
use super::grid::Grid;
use super::leaf::Shape;
use super::reads::Reads;
use super::value::{ABSENT, is_absent, present};
use crate::model::{Sample, is_stale_nan};

/// Samples to gather before stepping on.
const GATHER_SAMPLES: usize = 4096;

/// Samples that are taken in together where nothing is odd about any of them.
const TAKE_AT_ONCE: usize = 64;

/// Windows that are found before their values are computed.
pub(super) const RUN_WINDOWS: usize = 64;

/// The samples of one step's window; never empty.
pub(super) struct Window<'a> {
    /// All buffered times, in milliseconds; the window's are `lo..hi`.
    pub ts: &'a [i64],
    /// All buffered values.
    pub vs: &'a [f64],
    /// The window's first sample.
    pub lo: usize,
    /// The sample behind the window's last one.
    pub hi: usize,
    /// The window ends here, in milliseconds.
    pub end: i64,
    /// How long the window is, in milliseconds.
    pub length: i64,
    /// Which step.
    pub step: usize,
    /// The instants of the steps.
    pub grid: &'a Grid,
}

impl<'a> Window<'a> {
    /// The times of the window's samples.
    pub(super) fn times(&self) -> &'a [i64] {
        self.ts.get(self.lo..self.hi).unwrap_or_default()
    }

    /// The values of the window's samples.
    pub(super) fn values(&self) -> &'a [f64] {
        self.vs.get(self.lo..self.hi).unwrap_or_default()
    }

    /// Time and value of the buffered sample `index`.
    #[inline(always)]
    pub(super) fn sample(&self, index: usize) -> (i64, f64) {
        match (self.ts.get(index), self.vs.get(index)) {
            (Some(t), Some(v)) => (*t, *v),
            _ => (0, f64::NAN),
        }
    }

    /// Time and value of the window's first sample.
    #[inline(always)]
    pub(super) fn first(&self) -> (i64, f64) {
        self.sample(self.lo)
    }

    /// Time and value of the window's last sample.
    #[inline(always)]
    pub(super) fn last(&self) -> (i64, f64) {
        self.sample(self.hi.wrapping_sub(1))
    }

    /// The instant of the step, in milliseconds; not the window's end where an offset or `@` has moved it.
    pub(super) fn eval(&self) -> i64 {
        self.grid.time(self.step)
    }

    /// How many samples the window has.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.hi - self.lo
    }
}

/// The windows of neighbouring steps, [`RUN_WINDOWS`] at most, none of them empty.
pub(super) struct Run<'a> {
    /// All buffered times, in milliseconds.
    pub ts: &'a [i64],
    /// All buffered values.
    pub vs: &'a [f64],
    /// Of each window the first sample and the one behind its last one; neither ever falls.
    pub bounds: &'a [(usize, usize)],
    /// The first window ends here, in milliseconds.
    pub end: i64,
    /// How the windows lie.
    pub shape: &'a Shape,
    /// The step of the first window.
    pub step: usize,
    /// By how many samples the windows lie apart, if all are alike: as many samples in each, at the same distances from each
    /// other and from where it begins and ends.
    pub stride: Option<usize>,
}

impl Run<'_> {
    /// Each window and where it ends, in order.
    #[inline(always)]
    pub(super) fn ends(&self) -> impl Iterator<Item = ((usize, usize), i64)> {
        let ends = std::iter::successors(Some(self.end), |end| {
            Some(end.saturating_add(self.shape.end_step))
        });
        self.bounds.iter().copied().zip(ends)
    }

    /// The windows, in order.
    #[inline(always)]
    pub(super) fn windows(&self) -> impl Iterator<Item = Window<'_>> {
        let Self { ts, vs, shape, step, .. } = *self;
        (step..).zip(self.ends()).map(move |(step, ((lo, hi), end))| Window {
            ts,
            vs,
            lo,
            hi,
            end,
            length: shape.length,
            step,
            grid: &shape.grid,
        })
    }
}

/// What a window's samples become. Kernels may keep what they know of the buffered samples from window to window.
pub(super) trait Kernel {
    /// Does the kernel look at nothing but the window's newest sample? Then `lo` is that sample.
    const NEWEST_ONLY: bool = false;
    /// Does the kernel look at every sample of every window? Then a step is as much work as its window is large.
    const SCANS: bool = false;

    /// Forgets everything: another series begins.
    fn reset(&mut self) {}

    /// Takes note of the buffered samples from index `from` on.
    fn extend(&mut self, _ts: &[i64], _vs: &[f64], _from: usize) {}

    /// Takes note that the first `count` buffered samples are gone.
    fn shrink(&mut self, _count: usize) {}

    /// The window's value, or [`ABSENT`].
    fn value(&mut self, window: &Window<'_>) -> f64;

    /// The values of a run of windows, each at its place of `out`.
    #[inline(always)]
    fn values(&mut self, run: &Run<'_>, out: &mut [f64]) {
        for (window, out) in run.windows().zip(out) {
            *out = self.value(&window);
        }
    }
}

/// How far gathering samples has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// There are enough to step on.
    Enough,
    /// There are more to come.
    Some,
    /// There were no more.
    Ended,
}

/// One series' samples and how far its windows have come.
#[derive(Debug)]
pub(super) struct Windows {
    shape: Shape,
    /// Do stale markers count as samples? They end an instant selector's series and are invisible to range selectors.
    keeps_stale: bool,
    /// Room for samples: of times and values, the first `len` are some.
    ts: Vec<i64>,
    vs: Vec<f64>,
    len: usize,
    /// Buffered samples that the kernel has been told of.
    known: usize,
    /// Where the next window is looked for.
    cursor: Cursor,
    step: usize,
    /// The steps written for this series lie in this range; not all of it need be.
    written: std::ops::Range<usize>,
    /// How many samples to gather before stepping on.
    gather: usize,
    /// Samples buffered so far, of all series.
    samples_read: u64,
    /// What each step looks at, if that is counted.
    reads: Option<Reads>,
    /// The window of the next step is too long for its kernel.
    is_long: bool,
}

impl Windows {
    /// Windows of `shape`, before any sample.
    pub(super) fn new(shape: Shape, keeps_stale: bool) -> Self {
        Self {
            shape,
            keeps_stale,
            ts: Vec::new(),
            vs: Vec::new(),
            len: 0,
            known: 0,
            cursor: Cursor::default(),
            step: 0,
            written: 0..0,
            gather: GATHER_SAMPLES,
            samples_read: 0,
            reads: None,
            is_long: false,
        }
    }

    /// The same windows, which count what each step looks at.
    pub(super) fn counting_reads(self) -> Self {
        Self { reads: Some(Reads::none(self.shape.grid.count)), ..self }
    }

    /// What has been counted.
    pub(super) fn reads_mut(&mut self) -> Option<&mut Reads> {
        self.reads.as_mut()
    }

    /// Which windows these are.
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Forgets the series: another one begins.
    pub(super) fn reset(&mut self) {
        (self.len, self.known, self.step) = (0, 0, 0);
        self.cursor.rewind();
        self.written = 0..0;
        self.gather = GATHER_SAMPLES;
        self.is_long = false;
    }

    /// How many samples are buffered.
    pub(super) fn buffered(&self) -> usize {
        self.len
    }

    /// How many samples of all series have been buffered before the last [`advance`](Self::advance).
    pub(super) fn samples_read(&self) -> u64 {
        self.samples_read
    }

    /// Steps of this series that have been written all lie in this range.
    pub(super) fn written(&self) -> std::ops::Range<usize> {
        self.written.clone()
    }

    /// The first step that has no value yet, and the buffered samples that its window and later ones may see, times and values.
    pub(super) fn open(&self) -> (usize, &[i64], &[f64]) {
        let of = |len| (self.ts.get(..len), self.vs.get(..len));
        let (ts, vs) = of(self.len);
        (self.step, ts.unwrap_or_default(), vs.unwrap_or_default())
    }

    /// Takes samples off the front of `samples`, which are in order of time, until enough are there to step on, at most so many
    /// as can be looked at without a pause.
    pub(super) fn gather(&mut self, samples: &mut &[Sample]) -> Gathered {
        let before = self.shape.end(self.step).saturating_sub(self.shape.length);
        let last = self.shape.end(self.shape.grid.count.saturating_sub(1));
        if self.ts.len() < self.gather {
            self.ts.resize(self.gather, 0);
            self.vs.resize(self.gather, 0.0);
        }
        let too_old = samples.partition_point(|sample| sample.t.0 <= before);
        let visible = samples.partition_point(|sample| sample.t.0 <= last);
        let mut rest = samples.get(too_old..visible).unwrap_or_default();
        let end = self.gather.min(self.len + MANY);
        while self.len < end && !rest.is_empty() {
            let room = self.len..end.min(self.len + TAKE_AT_ONCE.min(rest.len()));
            let (taken, behind) = rest.split_at_checked(room.len()).unwrap_or((rest, &[]));
            let (Some(ts), Some(vs)) = (self.ts.get_mut(room.clone()), self.vs.get_mut(room))
            else {
                break;
            };
            let mut any_odd = false;
            for ((Sample { t, v }, t_slot), v_slot) in taken.iter().zip(ts).zip(vs) {
                (*t_slot, *v_slot) = (t.0, *v);
                any_odd |= v.is_nan();
            }
            if any_odd {
                self.take_odd(taken);
            } else {
                self.len += taken.len();
            }
            rest = behind;
        }
        *samples = rest;
        match (self.len < self.gather, rest.is_empty()) {
            (false, _) => Gathered::Enough,
            (true, false) => Gathered::Some,
            (true, true) => Gathered::Ended,
        }
    }

    /// Takes in samples of which some are no numbers, and may have the bits of a stale marker, but for the sign. There is room
    /// for them.
    #[cold]
    fn take_odd(&mut self, samples: &[Sample]) {
        for Sample { t, v } in samples {
            if is_stale_nan(*v) && !self.keeps_stale {
                continue;
            }
            if let (Some(t_slot), Some(v_slot)) =
                (self.ts.get_mut(self.len), self.vs.get_mut(self.len))
            {
                (*t_slot, *v_slot) = (t.0, if is_stale_nan(*v) { *v } else { present(*v) });
                self.len += 1;
            }
        }
    }

    /// The step behind the last one whose window may hold a sample that is buffered by now.
    pub(super) fn reach(&self) -> usize {
        let Shape { grid, first_end, end_step, length } = self.shape;
        match self.len.checked_sub(1).and_then(|last| self.ts.get(last)) {
            None => 0,
            Some(_) if end_step == 0 => grid.count,
            Some(newest) => {
                let ahead = newest.saturating_add(length).saturating_sub(first_end).max(0);
                usize::try_from(ahead / end_step + 1).unwrap_or(usize::MAX).min(grid.count)
            }
        }
    }

    /// Writes the value of every window that no later sample can fall into to `out`, which has one place a step; with
    /// `ended`, of all windows. Steps whose windows are empty are left as they are.
    ///
    /// Stops when about as many points as `work` says are worked through, takes them off it, and says whether it is done. Stops
    /// before a window with more samples than a kernel may look at: see [`long`](Self::long).
    pub(super) fn advance<K: Kernel>(
        &mut self,
        kernel: &mut K,
        ended: bool,
        out: &mut [f64],
        work: &mut usize,
    ) -> bool {
        let ts = self.ts.get(..self.len).unwrap_or_default();
        let vs = self.vs.get(..self.len).unwrap_or_default();
        kernel.extend(ts, vs, self.known);
        self.samples_read += (self.len - self.known) as u64;
        self.known = self.len;
        let Some(newest) = ts.last().copied() else {
            return true;
        };
        let shape = self.shape;
        // What changes at every step is kept out of `self`, in registers.
        let (mut cursor, mut step) = (self.cursor, self.step);
        let (mut first, mut behind) = (step, step);
        let mut end = shape.end(step);
        let (begun, mut scanned) = (step, 0);
        let mut limit = shape.grid.count.min(step.saturating_add((*work).max(1)));
        let mut bounds = [(0, 0); RUN_WINDOWS];
        while step < limit && (ended || end < newest) {
            let (run_step, run_end, mut hi_before) = (step, end, cursor.hi);
            let (mut found, mut stride) = (0, None);
            while step < limit && found < RUN_WINDOWS {
                if !K::SCANS {
                    let room = (limit - step).min(RUN_WINDOWS - found);
                    let places = bounds.get_mut(found..found + room).unwrap_or_default();
                    let here = cursor;
                    let (even, apart) = cursor.stride_evenly::<K>(ts, end, &shape, places);
                    if even > 0 {
                        if found == 0 {
                            (found, stride) = (even, Some(apart));
                            step += even;
                            end = shape.end(step);
                        } else {
                            cursor = here; // they make a run of their own
                        }
                        break;
                    }
                    let strides = cursor.stride::<K>(ts, end, &shape, places);
                    (found, step) = (found + strides, step + strides);
                    end = shape.end(step);
                }
                let (start, before) = (end.saturating_sub(shape.length), cursor);
                if step >= limit || !(ended || end < newest) || !cursor.move_to::<K>(ts, start, end)
                {
                    break;
                }
                if K::SCANS && cursor.hi - cursor.lo > MANY {
                    self.is_long = found == 0;
                    if found > 0 {
                        cursor = before; // it is found anew once those before it are done
                    }
                    break;
                }
                let Some(place) = bounds.get_mut(found) else {
                    break;
                };
                *place = (cursor.lo, cursor.hi);
                found += 1;
                if K::SCANS {
                    scanned += cursor.hi - cursor.lo;
                    limit = limit.saturating_sub(cursor.hi - cursor.lo).max(step + 1);
                }
                step += 1;
                end = end.saturating_add(shape.end_step);
            }
            if found > 0 {
                let bounds = bounds.get(..found).unwrap_or_default();
                let (end, shape) = (run_end, &shape);
                let run = Run { ts, vs, bounds, end, shape, step: run_step, stride };
                let values = out.get_mut(run_step..step).unwrap_or_default();
                kernel.values(&run, values);
                if let Some(reads) = &mut self.reads {
                    for ((step, (lo, hi)), value) in (run_step..).zip(bounds).zip(values) {
                        if K::NEWEST_ONLY {
                            let seen = usize::from(!is_absent(*value));
                            reads.note(step, seen, seen);
                        } else {
                            reads.note_window(step, hi - lo, hi - (*lo).max(hi_before));
                        }
                        hi_before = *hi;
                    }
                }
                behind = step;
                continue;
            }
            if self.is_long {
                if let Some(reads) = &mut self.reads {
                    let Cursor { lo, hi, .. } = cursor;
                    reads.note_window(step, hi - lo, hi - lo.max(hi_before));
                }
                break;
            }
            step = match ts.get(cursor.hi) {
                Some(next) => step.saturating_add(steps_to(*next, end, shape.end_step)),
                None => shape.grid.count, // only reached when no more samples come
            };
            if behind <= first {
                (first, behind) = (step, step);
            }
            end = shape.end(step);
        }
        let done = step >= shape.grid.count || !(self.is_long || ended || end < newest);
        *work = work.saturating_sub(step.saturating_sub(begun) + scanned);
        (self.cursor, self.step) = (cursor, step);
        if first < behind {
            let start = if self.written.is_empty() { first } else { self.written.start };
            self.written = start..behind;
        }
        let gone = cursor.lo.min(cursor.hi);
        self.drop_front(gone);
        kernel.shrink(gone);
        done
    }

    /// The next window, if it was too long for its kernel; its value is then [`put`](Self::put).
    pub(super) fn long(&self) -> Option<Window<'_>> {
        let Shape { grid, length, .. } = &self.shape;
        let Cursor { lo, hi, .. } = self.cursor;
        let (step, ts, vs) = self.open();
        let end = self.shape.end(step);
        self.is_long.then_some(Window { ts, vs, lo, hi, end, length: *length, step, grid })
    }

    /// Writes the value of the long window to `out`, and goes on behind it.
    pub(super) fn put(&mut self, v: f64, out: &mut [f64]) {
        if let Some(slot) = out.get_mut(self.step) {
            *slot = v;
        }
        let start = if self.written.is_empty() { self.step } else { self.written.start };
        self.step += 1;
        self.written = start..self.step;
        self.is_long = false;
    }

    /// Forgets the first `gone` samples. A window that fills the buffer makes it larger.
    fn drop_front(&mut self, gone: usize) {
        let kept = self.len - gone;
        if gone > 0 {
            self.ts.copy_within(gone..self.len, 0);
            self.vs.copy_within(gone..self.len, 0);
        }
        self.len = kept;
        self.known -= gone;
        self.cursor.shift(gone);
        self.gather = GATHER_SAMPLES.max(kept * 2);
    }
}

/// With nothing in the window that ends at `end`: how many steps on is the first window that may hold the sample at
/// `next`?
fn steps_to(next: i64, end: i64, end_step: i64) -> usize {
    let ahead = next.saturating_sub(end).max(1);
    let steps = if end_step > 0 { (ahead - 1) / end_step + 1 } else { 1 };
    usize::try_from(steps).unwrap_or(usize::MAX)
}

/// The newest sample of each window, unless it is a stale marker.
#[derive(Debug, Default)]
pub(super) struct Newest;

impl Kernel for Newest {
    const NEWEST_ONLY: bool = true;

    #[inline(always)]
    fn value(&mut self, window: &Window<'_>) -> f64 {
        window.last().1 // the marker's bits are those of ABSENT
    }

    #[inline(always)]
    fn values(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let newest = run.bounds.first().and_then(|(lo, _)| run.vs.get(*lo..)).unwrap_or_default();
        match run.stride {
            Some(1) => out.iter_mut().zip(newest).for_each(|(out, v)| *out = *v),
            Some(stride) => {
                out.iter_mut().zip(newest.iter().step_by(stride)).for_each(|(out, v)| *out = *v);
            }
            None => out.iter_mut().zip(run.windows()).for_each(|(out, w)| *out = self.value(&w)),
        }
    }
}

/// The time of the newest sample of each window in seconds, unless it is a stale marker.
#[derive(Debug, Default)]
pub(super) struct NewestTime;

impl Kernel for NewestTime {
    const NEWEST_ONLY: bool = true;

    fn value(&mut self, window: &Window<'_>) -> f64 {
        let (t, v) = window.last();
        if is_stale_nan(v) { ABSENT } else { t as f64 / 1000.0 }
    }
}
