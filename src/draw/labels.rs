//! Places texts so that they touch neither each other nor the frame, and cover as little of the data as possible.
//!
//! Greedy choice in order of priority, then rounds in which each label may move to a better place while the others stay.
//! No randomness: the same figure gives the same labels. A label for which no free place exists is left out and named,
//! because an unreadable label is worse than a missing one.

/// A point or a size in px.
pub(super) type Px = (f64, f64);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    pub(super) fn new(left: f64, top: f64, right: f64, bottom: f64) -> Self {
        Self { left, top, right, bottom }
    }

    pub(super) fn at((left, top): Px, (width, height): Px) -> Self {
        Self { left, top, right: left + width, bottom: top + height }
    }

    pub(super) fn around((x, y): Px, reach: f64) -> Self {
        Self { left: x - reach, top: y - reach, right: x + reach, bottom: y + reach }
    }

    pub(super) fn grown(self, by: f64) -> Self {
        Self { left: self.left - by, top: self.top - by, right: self.right + by, bottom: self.bottom + by }
    }

    pub(super) fn width(self) -> f64 {
        self.right - self.left
    }

    pub(super) fn height(self) -> f64 {
        self.bottom - self.top
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    pub(super) fn holds(self, other: Self) -> bool {
        self.left <= other.left && self.top <= other.top && self.right >= other.right && self.bottom >= other.bottom
    }

    /// The place in the rectangle that is nearest to `point`.
    pub(super) fn nearest(self, point: Px) -> Px {
        (point.0.clamp(self.left, self.right), point.1.clamp(self.top, self.bottom))
    }

    /// Free room between two rectangles, 0 if they touch.
    pub(super) fn distance(self, other: Self) -> f64 {
        let across = (other.left - self.right).max(self.left - other.right).max(0.0);
        let along = (other.top - self.bottom).max(self.top - other.bottom).max(0.0);
        across.hypot(along)
    }

    /// Length of the part of a segment that lies inside (Liang-Barsky).
    fn covers(self, (from, to): (Px, Px)) -> f64 {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let mut span = (0.0, 1.0);
        for (step, room) in
            [(-dx, from.0 - self.left), (dx, self.right - from.0), (-dy, from.1 - self.top), (dy, self.bottom - from.1)]
        {
            if step == 0.0 {
                if room < 0.0 {
                    return 0.0;
                }
            } else if step < 0.0 {
                span.0 = f64::max(span.0, room / step);
            } else {
                span.1 = f64::min(span.1, room / step);
            }
        }
        (span.1 - span.0).max(0.0) * dx.hypot(dy)
    }
}

/// A text to be placed.
#[derive(Clone, Debug)]
pub(super) struct LabelRequest {
    pub size: Px,
    /// What the text belongs to: points, upright or level lines. Places far from all of them cost more.
    pub anchors: Vec<Rect>,
    /// Upper left corners in order of preference.
    pub spots: Vec<Px>,
    /// May be put anywhere in the area if no spot will do.
    pub roams: bool,
    /// Whether a thin line joins the text to its anchor if it ends up far from it.
    pub points: bool,
    /// Lower is placed first.
    pub priority: u8,
}

impl LabelRequest {
    /// A text for which only `spots` will do.
    pub(super) fn at(spots: Vec<Px>, size: Px, anchor: Rect, priority: u8) -> Self {
        Self { size, anchors: vec![anchor], spots, roams: false, points: false, priority }
    }

    /// A text around a point: right, left, above, below and in between, at growing distances.
    pub(super) fn around(anchor: Px, size: Px, priority: u8) -> Self {
        let mut spots = Vec::new();
        let (w, h) = size;
        for gap in [6.0, 11.0, 18.0, 28.0, 42.0] {
            let (x, y) = anchor;
            let (right, left, above, below) = (x + gap, x - gap - w, y - gap - h, y + gap);
            let (centre, middle) = (x - w / 2.0, y - h / 2.0);
            let near = gap * 0.6;
            spots.extend([
                (x + near, y - near - h),
                (right, middle),
                (x - near - w, y - near - h),
                (left, middle),
                (x + near, y + near),
                (x - near - w, y + near),
                (centre, above),
                (centre, below),
            ]);
        }
        Self { size, anchors: vec![Rect::around(anchor, 0.0)], spots, roams: true, points: true, priority }
    }

    /// The line from a text at `rect` to its anchor, if it needs one: it is far from it, or nearer to another's.
    fn leader(&self, rect: Rect, rivals: &[Rect]) -> Option<(Px, Px)> {
        let middle = ((rect.left + rect.right) / 2.0, (rect.top + rect.bottom) / 2.0);
        let anchor = self.anchors.iter().min_by(|a, b| rect.distance(**a).total_cmp(&rect.distance(**b)))?;
        let target = anchor.nearest(middle);
        let away = rect.distance(*anchor);
        let doubtful = || rivals.iter().any(|rival| rect.distance(*rival) < away);
        (self.points && (away > NEAR || doubtful())).then(|| (rect.nearest(target), target))
    }

    /// Distance from a text at `rect` to the nearest anchor, px.
    fn away(&self, rect: Rect) -> f64 {
        self.anchors.iter().map(|&anchor| rect.distance(anchor)).reduce(f64::min).unwrap_or(0.0)
    }

    /// Lets the text belong to another anchor as well, if the first has no good place.
    pub(super) fn or_around(mut self, anchor: Px) -> Self {
        let other = Self::around(anchor, self.size, self.priority);
        self.spots.extend(other.spots);
        self.anchors.extend(other.anchors);
        self
    }
}

/// What texts should keep off.
#[derive(Clone, Debug, Default)]
pub(super) struct Obstacles {
    /// Markers and the like: covering one hides a value.
    pub boxes: Vec<Rect>,
    /// Lines: crossing one costs by the length covered.
    pub segments: Vec<(Px, Px)>,
}

/// Up to this distance, px, it is plain what a text belongs to.
const NEAR: f64 = 13.0;
/// Free room around every label, px.
const CLEARANCE: f64 = 2.0;
/// Above this cost a label that may roam looks for a place elsewhere.
const BEARABLE: f64 = 22.0;
const COST_PER_PX_COVERED: f64 = 1.0;
/// A line that runs through half of the height of the text or more, however short the way: nobody reads a struck-out
/// number.
const COST_PER_STRIKE: f64 = 14.0;
const COST_PER_BOX: f64 = 30.0;
const COST_PER_PX_AWAY: f64 = 0.4;
const COST_OF_LEADER: f64 = 4.0;
const COST_PER_PX_STRUCK: f64 = 3.0;
const COST_PER_RANK: f64 = 0.35;
const ROUNDS: usize = 3;
const ROAMING_PITCH: f64 = 7.0;

/// Where a text is written, and the line that joins it to what it belongs to, if it needs one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PlacedLabel {
    pub rect: Rect,
    pub leader: Option<(Px, Px)>,
}

/// The place of every request inside `area`, or `None` where there is no room.
pub(super) fn place(area: Rect, obstacles: &Obstacles, requests: &[LabelRequest]) -> Vec<Option<PlacedLabel>> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&index| requests[index].priority);
    let without = |index: usize| (0..requests.len()).filter(move |&other| other != index);
    let anchors = |other: usize| requests[other].points.then_some(&requests[other].anchors).into_iter().flatten();
    let rivals: Vec<Vec<Rect>> =
        (0..requests.len()).map(|index| without(index).flat_map(anchors).copied().collect()).collect();
    let mut placed: Vec<Option<PlacedLabel>> = vec![None; requests.len()];
    for _ in 0..ROUNDS {
        let before = placed.clone();
        for &index in &order {
            let others: Vec<PlacedLabel> = without(index).filter_map(|other| placed[other]).collect();
            let (request, rivals) = (&requests[index], &rivals[index]);
            let best = LabelSearch { area, obstacles, others: &others, rivals }.best(request);
            placed[index] = best.map(|rect| PlacedLabel { rect, leader: request.leader(rect, rivals) });
        }
        if placed == before {
            break;
        }
    }
    placed
}

struct LabelSearch<'a> {
    area: Rect,
    obstacles: &'a Obstacles,
    /// The texts that have their place already.
    others: &'a [PlacedLabel],
    /// What other texts belong to.
    rivals: &'a [Rect],
}

impl LabelSearch<'_> {
    fn best(&self, request: &LabelRequest) -> Option<Rect> {
        let ranked = request.spots.iter().enumerate().map(|(rank, &at)| (rank as f64 * COST_PER_RANK, at));
        let near = self.cheapest(request, ranked);
        match near {
            Some((cost, rect)) if cost <= BEARABLE || !request.roams => Some(rect),
            None if !request.roams => None,
            near => {
                let far = self.cheapest(request, self.grid(request.size).map(|at| (BEARABLE / 2.0, at)));
                let better = |a: (f64, Rect), b: (f64, Rect)| if b.0 < a.0 { b } else { a };
                near.into_iter().chain(far).reduce(better).map(|(_, rect)| rect)
            }
        }
    }

    fn cheapest(&self, request: &LabelRequest, spots: impl Iterator<Item = (f64, Px)>) -> Option<(f64, Rect)> {
        let mut best: Option<(f64, Rect)> = None;
        for (cost, at) in spots {
            let rect = Rect::at(at, request.size);
            let limit = best.map_or(f64::INFINITY, |(cost, _)| cost);
            if cost < limit && self.is_free(rect) {
                let cost = cost + self.cost(rect, request);
                if cost < limit {
                    best = Some((cost, rect));
                }
            }
        }
        best
    }

    fn is_free(&self, rect: Rect) -> bool {
        self.area.holds(rect) && !self.others.iter().any(|other| other.rect.meets(rect.grown(CLEARANCE)))
    }

    fn cost(&self, rect: Rect, request: &LabelRequest) -> f64 {
        let padded = rect.grown(CLEARANCE / 2.0);
        let through = 0.5 * padded.height();
        let covering = |&segment: &(Px, Px)| {
            let covered = padded.covers(segment);
            covered * COST_PER_PX_COVERED + if covered >= through { COST_PER_STRIKE } else { 0.0 }
        };
        let covered: f64 = self.obstacles.segments.iter().map(covering).sum();
        let hidden = self.obstacles.boxes.iter().filter(|shape| shape.meets(padded)).count();
        let away = request.away(rect) * COST_PER_PX_AWAY;
        covered + hidden as f64 * COST_PER_BOX + away + self.leader_cost(rect, request)
    }

    /// Leaders should not strike through texts, neither this text's through others nor others' through this.
    fn leader_cost(&self, rect: Rect, request: &LabelRequest) -> f64 {
        let own = request.leader(rect, self.rivals);
        let struck = |other: &PlacedLabel| {
            let through_this = other.leader.map_or(0.0, |leader| rect.covers(leader));
            let through_other = own.map_or(0.0, |leader| other.rect.covers(leader));
            through_this + through_other
        };
        let total: f64 = self.others.iter().map(struck).sum();
        total * COST_PER_PX_STRUCK + if own.is_some() { COST_OF_LEADER } else { 0.0 }
    }

    fn grid(&self, (width, height): Px) -> impl Iterator<Item = Px> {
        let area = self.area;
        let steps = |room: f64| 0..=(room.max(0.0) / ROAMING_PITCH) as u32;
        let rows = steps(area.height() - height);
        let at = |start: f64, step: u32| start + f64::from(step) * ROAMING_PITCH;
        rows.flat_map(move |row| {
            steps(area.width() - width).map(move |column| (at(area.left, column), at(area.top, row)))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AREA: Rect = Rect { left: 0.0, top: 0.0, right: 200.0, bottom: 120.0 };

    #[test]
    fn a_lone_label_stays_beside_its_point() {
        let placed = place(AREA, &Obstacles::default(), &[LabelRequest::around((100.0, 60.0), (40.0, 10.0), 0)]);
        let rect = placed[0].unwrap().rect;
        assert!(rect.nearest((100.0, 60.0)).0 - 100.0 < 8.0);
    }

    #[test]
    fn a_label_dodges_lines_and_markers() {
        let obstacles =
            Obstacles { boxes: vec![Rect::around((110.0, 50.0), 4.0)], segments: vec![((0.0, 60.0), (200.0, 60.0))] };
        let rect = place(AREA, &obstacles, &[LabelRequest::around((100.0, 60.0), (40.0, 10.0), 0)])[0].unwrap().rect;
        assert_eq!(rect.covers(obstacles.segments[0]), 0.0);
        assert!(!rect.meets(obstacles.boxes[0]));
    }

    #[test]
    fn a_label_is_not_struck_out_by_the_line_of_another() {
        // Its own upright line stands too near the frame for the text, and another's is close on the other side.
        let lines = [150.0, 140.0].map(|x| ((x, 20.0), (x, 120.0)));
        let obstacles = Obstacles { boxes: Vec::new(), segments: lines.to_vec() };
        let mut request = LabelRequest::around((150.0, 20.0), (60.0, 12.0), 0);
        request.spots.insert(0, (150.0 - 4.0 - 60.0, 100.0));
        request.anchors = vec![Rect::new(150.0, 20.0, 150.0, 120.0)];
        let rect = place(AREA, &obstacles, &[request])[0].unwrap().rect;
        assert!(lines.iter().all(|line| rect.covers(*line) < 12.0), "{rect:?}");
    }

    #[test]
    fn a_label_beside_the_anchor_of_another_is_joined_to_its_own() {
        // The only spot left of both points is nearer to the other's.
        let size = (40.0, 10.0);
        let only = |anchor: Px| LabelRequest {
            spots: vec![(54.0, 55.0)],
            roams: false,
            ..LabelRequest::around(anchor, size, 0)
        };
        let leaders = |requests: &[LabelRequest]| place(AREA, &Obstacles::default(), requests)[0].unwrap().leader;
        let own = only((104.0, 60.0));
        assert_eq!(leaders(std::slice::from_ref(&own)), None);
        let other = LabelRequest { spots: vec![(120.0, 20.0)], ..only((99.0, 60.0)) };
        assert_eq!(leaders(&[own, other]), Some(((94.0, 60.0), (104.0, 60.0))));
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let wide = LabelRequest::around((100.0, 60.0), (300.0, 10.0), 0);
        assert_eq!(place(AREA, &Obstacles::default(), &[wide]), [None]);
    }

    #[test]
    fn the_covered_length_is_exact() {
        let rect = Rect { left: 0.0, top: 0.0, right: 10.0, bottom: 10.0 };
        assert_eq!(rect.covers(((-5.0, 5.0), (15.0, 5.0))), 10.0);
        assert_eq!(rect.covers(((-5.0, 15.0), (15.0, 15.0))), 0.0);
        assert_eq!(rect.covers(((3.0, 3.0), (3.0, 7.0))), 4.0);
    }

    proptest! {
        #[test]
        fn labels_never_overlap_nor_leave_the_area(
            texts in prop::collection::vec(((-20.0..220.0f64, -20.0..140.0f64), (5.0..90.0f64, 8.0..14.0f64), 0u8..3), 0..14),
            lines in prop::collection::vec(((0.0..200.0f64, 0.0..120.0f64), (0.0..200.0f64, 0.0..120.0f64)), 0..8),
        ) {
            let requests: Vec<LabelRequest> =
                texts.iter().map(|&(anchor, size, priority)| LabelRequest::around(anchor, size, priority)).collect();
            let obstacles = Obstacles { boxes: Vec::new(), segments: lines };
            let placed = place(AREA, &obstacles, &requests);
            let rects: Vec<Rect> = placed.iter().flatten().map(|placed| placed.rect).collect();
            for (index, rect) in rects.iter().enumerate() {
                prop_assert!(AREA.holds(*rect));
                prop_assert!(rects[..index].iter().all(|other| !other.meets(*rect)));
            }
            prop_assert_eq!(place(AREA, &obstacles, &requests), placed);
        }
    }
}
