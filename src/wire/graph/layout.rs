//! Where boxes and arrows go: layers from left to right, by the longest path.
//!
//! An arrow over several layers passes through a bend in each layer between, which takes part in the
//! layout like a small box. Layers are ordered by the mean position of the neighbours (barycenter
//! method), then each layer is moved as near to its neighbours as its order allows. All of it takes
//! a fixed number of sweeps, so the cost grows with the size and not with the entanglement.

use std::ops::Range;

/// Bends that an SVG may have. Above it, arrows over several layers go straight and may run behind
/// boxes.
const BENDS_MAX: usize = 50_000;
/// Sweeps that order the layers.
const ORDER_SWEEPS: usize = 16;
/// Sweeps that move them.
const PLACE_SWEEPS: usize = 12;
/// Free space above and below a box.
const ROW_GAP: f64 = 16.0;
/// The same around a bend.
const BEND_GAP: f64 = 6.0;
/// Free space between two layers, at the least.
const LAYER_GAP: f64 = 56.0;
/// Free space around a label in the gap between two layers.
const LABEL_GAP: f64 = 40.0;
/// Free space around the whole.
pub(super) const MARGIN: f64 = 20.0;
/// How much a bend insists on its place, so that long arrows are straight; a box weighs 1.
const BEND_WEIGHT: f64 = 4.0;
/// From the middle of a label to that of the next.
const LABEL_STEP: f64 = 14.0;

/// Width and height.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// An arrow to be laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The width of its label; 0 without one.
    pub(super) label: f64,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) size: Size,
    /// The middles of the boxes.
    pub(super) boxes: Vec<Point>,
    /// The points that each arrow passes through, in its direction: two for each layer, where it
    /// enters and where it leaves.
    pub(super) routes: Vec<Vec<Point>>,
    /// The middles of the labels of the arrows.
    pub(super) labels: Vec<Point>,
}

/// A box or a bend.
struct Place {
    layer: usize,
    size: Size,
    is_bend: bool,
    y: f64,
    /// Neighbours in the layer before and in the layer after.
    near: [Vec<usize>; 2],
}

/// A column of places, in order from above.
struct Layer {
    places: Vec<usize>,
    left: f64,
    width: f64,
}

/// Lays out boxes of these sizes. Links should lead from lower to higher positions; one that does
/// not is laid out the other way round. A link to its own start has no route.
pub(super) fn lay_out(sizes: &[Size], links: &[Link]) -> Layout {
    let ranks = ranks(sizes.len(), links);
    let (mut places, chains) = places(sizes, links, &ranks);
    let mut layers: Vec<Layer> = Vec::new();
    for (n, place) in places.iter().enumerate() {
        while layers.len() <= place.layer {
            layers.push(Layer { places: Vec::new(), left: 0.0, width: 0.0 });
        }
        let layer = &mut layers[place.layer];
        layer.places.push(n);
        layer.width = layer.width.max(place.size.width);
    }
    order(&mut layers, &places);
    move_near(&layers, &mut places);
    let top = places.iter().map(|p| p.y - p.size.height / 2.0).fold(f64::INFINITY, f64::min);
    for place in &mut places {
        place.y += MARGIN - top;
    }
    let width = set_columns(&mut layers, links, &chains, &places);
    let bottom = places.iter().map(|p| p.y + p.size.height / 2.0).fold(0.0, f64::max);
    let middle = |n: usize| {
        let layer = &layers[places[n].layer];
        Point { x: layer.left + layer.width / 2.0, y: places[n].y }
    };
    Layout {
        size: Size { width, height: bottom + MARGIN },
        boxes: (0..sizes.len()).map(middle).collect(),
        routes: links
            .iter()
            .zip(&chains)
            .map(|(link, chain)| route(link, chain, &layers, &places))
            .collect(),
        labels: labels(links, &chains, &layers, &places),
    }
}

/// The lower and the higher end of a link.
fn ends(link: &Link) -> (usize, usize) {
    (link.from.min(link.to), link.from.max(link.to))
}

/// The layer of each box: one more than the highest of those that lead to it.
fn ranks(boxes: usize, links: &[Link]) -> Vec<usize> {
    let mut next = vec![Vec::new(); boxes];
    let mut has_before = vec![false; boxes];
    for (low, high) in links.iter().map(ends).filter(|(low, high)| low != high) {
        next[low].push(high);
        has_before[high] = true;
    }
    let mut ranks = vec![0; boxes];
    for n in 0..boxes {
        for after in &next[n] {
            ranks[*after] = ranks[*after].max(ranks[n] + 1);
        }
    }
    // A box that waits for nothing stands beside what waits for it.
    for n in (0..boxes).filter(|n| !has_before[*n]) {
        ranks[n] = next[n].iter().map(|after| ranks[*after] - 1).min().unwrap_or(0);
    }
    let first = ranks.iter().copied().min().unwrap_or(0);
    ranks.into_iter().map(|rank| rank - first).collect()
}

/// Boxes and bends, and for each link the places that it passes, from the lower end to the higher.
fn places(sizes: &[Size], links: &[Link], ranks: &[usize]) -> (Vec<Place>, Vec<Vec<usize>>) {
    let place = |layer, size, is_bend| Place {
        layer,
        size,
        is_bend,
        y: 0.0,
        near: [Vec::new(), Vec::new()],
    };
    let mut places: Vec<Place> =
        sizes.iter().zip(ranks).map(|(size, rank)| place(*rank, *size, false)).collect();
    let between = |link: &Link| {
        let (low, high) = ends(link);
        if low == high { 0..0 } else { ranks[low] + 1..ranks[high] }
    };
    let has_bends = links.iter().map(|link| between(link).len()).sum::<usize>() <= BENDS_MAX;
    let mut chains = Vec::with_capacity(links.len());
    for link in links {
        let (low, high) = ends(link);
        let mut chain = vec![low];
        for layer in between(link).filter(|_| has_bends) {
            // The label stands at the last bend.
            let size = if layer + 1 == ranks[high] && link.label > 0.0 {
                Size { width: link.label, height: LABEL_STEP }
            } else {
                Size { width: 0.0, height: BEND_GAP }
            };
            chain.push(places.len());
            places.push(place(layer, size, true));
        }
        chain.push(high);
        for pair in chain.windows(2).filter(|_| low != high) {
            // Without bends the ends may be layers apart; they draw each other all the same.
            places[pair[0]].near[1].push(pair[1]);
            places[pair[1]].near[0].push(pair[0]);
        }
        chains.push(chain);
    }
    (places, chains)
}

/// A count as a coordinate.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
const fn float(count: usize) -> f64 {
    count as f64
}

/// The layers of a sweep and the side that it looks at: there and back.
fn sweep(layers: usize, number: usize) -> (Box<dyn Iterator<Item = usize>>, usize) {
    let all: Range<usize> = 0..layers;
    if number.is_multiple_of(2) { (Box::new(all), 0) } else { (Box::new(all.rev()), 1) }
}

/// The mean of `value` over the neighbours on a side.
fn mean(place: &Place, side: usize, value: impl Fn(usize) -> f64) -> Option<f64> {
    let near = &place.near[side];
    let sum: f64 = near.iter().map(|other| value(*other)).sum();
    (!near.is_empty()).then(|| sum / float(near.len()))
}

fn order(layers: &mut [Layer], places: &[Place]) {
    let mut position = vec![0.0; places.len()];
    for layer in layers.iter() {
        for (index, n) in layer.places.iter().enumerate() {
            position[*n] = float(index);
        }
    }
    for number in 0..ORDER_SWEEPS {
        let (sweep, side) = sweep(layers.len(), number);
        for layer in sweep {
            let layer = &mut layers[layer].places;
            let mut keyed: Vec<(f64, usize)> = layer
                .iter()
                .map(|n| (mean(&places[*n], side, |o| position[o]).unwrap_or(position[*n]), *n))
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (index, (_, n)) in keyed.into_iter().enumerate() {
                layer[index] = n;
                position[n] = float(index);
            }
        }
    }
}

fn move_near(layers: &[Layer], places: &mut [Place]) {
    for layer in layers {
        let wanted = vec![(0.0, 1.0); layer.places.len()];
        spread_layer(layer, places, &wanted);
    }
    for number in 0..PLACE_SWEEPS {
        let (sweep, side) = sweep(layers.len(), number);
        for layer in sweep {
            let layer = &layers[layer];
            let wanted: Vec<(f64, f64)> = layer
                .places
                .iter()
                .map(|n| {
                    let place = &places[*n];
                    let mean = mean(place, side, |other| places[other].y);
                    // Who has no neighbours on that side gives way.
                    mean.map_or((place.y, 0.1), |mean| {
                        (mean, if place.is_bend { BEND_WEIGHT } else { 1.0 })
                    })
                })
                .collect();
            spread_layer(layer, places, &wanted);
        }
    }
}

fn spread_layer(layer: &Layer, places: &mut [Place], wanted: &[(f64, f64)]) {
    let gap = |place: &Place| if place.is_bend { BEND_GAP } else { ROW_GAP };
    let steps: Vec<f64> = layer
        .places
        .windows(2)
        .map(|pair| {
            let (above, below) = (&places[pair[0]], &places[pair[1]]);
            f64::midpoint(above.size.height, below.size.height) + gap(above).max(gap(below))
        })
        .collect();
    for (n, y) in layer.places.iter().zip(spread(wanted, &steps)) {
        places[*n].y = y;
    }
}

/// Positions as near as possible to those wanted (each with a weight) that keep their order and at
/// least `steps` between one and the next: least squares, by merging neighbours that collide.
fn spread(wanted: &[(f64, f64)], steps: &[f64]) -> Vec<f64> {
    // Less the sum of the steps before, "at least a step apart" becomes "not falling".
    let offsets: Vec<f64> = std::iter::once(0.0)
        .chain(steps.iter().scan(0.0, |sum, step| {
            *sum += step;
            Some(*sum)
        }))
        .collect();
    let mut blocks: Vec<(f64, f64, usize)> = Vec::with_capacity(wanted.len());
    for ((at, weight), offset) in wanted.iter().zip(&offsets) {
        let mut block = (at - offset, *weight, 1);
        while let Some(last) = blocks.pop_if(|last| last.0 > block.0) {
            let weight = last.1 + block.1;
            block = ((last.0 * last.1 + block.0 * block.1) / weight, weight, last.2 + block.2);
        }
        blocks.push(block);
    }
    let level = blocks.into_iter().flat_map(|(at, _, count)| std::iter::repeat_n(at, count));
    level.zip(offsets).map(|(at, offset)| at + offset).collect()
}

/// Sets the columns one beside the other, with room for labels; answers the width of the whole.
fn set_columns(
    layers: &mut [Layer],
    links: &[Link],
    chains: &[Vec<usize>],
    places: &[Place],
) -> f64 {
    let mut gaps = vec![LAYER_GAP; layers.len()];
    for (link, chain) in links.iter().zip(chains).filter(|(link, _)| link.label > 0.0) {
        if let Some(gap) = label_gap(chain, places) {
            gaps[gap] = gaps[gap].max(link.label + LABEL_GAP);
        }
    }
    let mut x = MARGIN;
    for (layer, gap) in layers.iter_mut().zip(gaps) {
        layer.left = x;
        x += layer.width + gap;
    }
    layers.last().map_or(0.0, |last| last.left + last.width) + MARGIN
}

/// The layer before the gap in which the label of a link stands that has no bend to put it at.
fn label_gap(chain: &[usize], places: &[Place]) -> Option<usize> {
    let last = *chain.last()?;
    (chain.len() == 2).then(|| places[last].layer.saturating_sub(1))
}

fn route(link: &Link, chain: &[usize], layers: &[Layer], places: &[Place]) -> Vec<Point> {
    if link.from == link.to {
        return Vec::new();
    }
    let mut points = Vec::with_capacity(chain.len() * 2);
    for (index, n) in chain.iter().enumerate() {
        let place = &places[*n];
        let layer = &layers[place.layer];
        // A bend passes its whole column; a box may be narrower than its column.
        let width = if place.is_bend { layer.width } else { place.size.width };
        let middle = layer.left + layer.width / 2.0;
        if index > 0 {
            points.push(Point { x: middle - width / 2.0, y: place.y });
        }
        if index + 1 < chain.len() {
            points.push(Point { x: middle + width / 2.0, y: place.y });
        }
    }
    if link.from > link.to {
        points.reverse();
    }
    points
}

/// A label stands at the last bend of its arrow. Where there is none it stands in the middle of the
/// gap, half-way between the two boxes, apart from the others there.
fn labels(links: &[Link], chains: &[Vec<usize>], layers: &[Layer], places: &[Place]) -> Vec<Point> {
    let mut found = vec![Point::default(); links.len()];
    let mut in_gap: Vec<Vec<(f64, usize)>> = vec![Vec::new(); layers.len()];
    for (index, (link, chain)) in links.iter().zip(chains).enumerate() {
        let [.., before, last] = chain[..] else { continue };
        let before = &places[before];
        if let Some(gap) = label_gap(chain, places).filter(|_| link.label > 0.0) {
            in_gap[gap].push((f64::midpoint(before.y, places[last].y), index));
        } else {
            let column = &layers[before.layer];
            found[index] = Point { x: column.left + column.width / 2.0, y: before.y };
        }
    }
    for (layer, mut gap) in in_gap.into_iter().enumerate() {
        gap.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted: Vec<(f64, f64)> = gap.iter().map(|(y, _)| (*y, 1.0)).collect();
        let steps = vec![LABEL_STEP; gap.len().saturating_sub(1)];
        let right = layers.get(layer + 1).map_or(0.0, |next| next.left);
        let x = f64::midpoint(layers[layer].left + layers[layer].width, right);
        for ((_, index), y) in gap.into_iter().zip(spread(&wanted, &steps)) {
            found[index] = Point { x, y };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_collides_is_moved_apart_around_its_mean() {
        let even =
            |wanted: &[f64]| -> Vec<(f64, f64)> { wanted.iter().map(|at| (*at, 1.0)).collect() };
        assert_eq!(spread(&even(&[0.0, 100.0]), &[10.0]), [0.0, 100.0]);
        assert_eq!(spread(&even(&[50.0, 50.0, 50.0]), &[10.0, 10.0]), [40.0, 50.0, 60.0]);
        assert_eq!(spread(&even(&[20.0, 10.0]), &[10.0]), [10.0, 20.0]);
        assert!(spread(&[], &[]).is_empty());
    }

    fn laid(boxes: usize, pairs: &[(usize, usize)]) -> Layout {
        let link = |(from, to): &(usize, usize)| Link { from: *from, to: *to, label: 0.0 };
        let links: Vec<Link> = pairs.iter().map(link).collect();
        lay_out(&vec![Size { width: 100.0, height: 40.0 }; boxes], &links)
    }

    #[test]
    fn arrows_lead_to_the_right_and_boxes_do_not_touch() {
        let pairs = [(0, 1), (0, 2), (1, 4), (2, 4), (0, 4), (3, 4), (5, 6)];
        let layout = laid(7, &pairs);
        for (from, to) in pairs {
            assert!(layout.boxes[from].x + 100.0 < layout.boxes[to].x);
        }
        assert!((layout.boxes[3].x - layout.boxes[2].x).abs() < 1.0, "beside what it is for");
        for (n, a) in layout.boxes.iter().enumerate() {
            for b in &layout.boxes[..n] {
                assert!((a.x - b.x).abs() >= 100.0 || (a.y - b.y).abs() >= 40.0, "{a:?} {b:?}");
            }
            assert!(a.x >= 50.0 && a.y >= 20.0);
            assert!(a.x + 50.0 < layout.size.width && a.y + 20.0 < layout.size.height);
        }
        assert_eq!(layout.routes[4].len(), 4, "two points at the ends and two at the bend");
    }

    #[test]
    fn cycles_and_loops_are_laid_out_too() {
        let layout = laid(3, &[(0, 1), (1, 2), (2, 0), (1, 1)]);
        let back = &layout.routes[2];
        assert!(back[0].x > back[back.len() - 1].x);
        assert!(layout.routes[3].is_empty());
        assert!(laid(0, &[]).boxes.is_empty());
    }
}
