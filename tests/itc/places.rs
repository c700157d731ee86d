//! What trees mean: a number at each of 2^n places. Trees are made without regard to normal form and
//! brought into it by an own few lines.

use proptest::prelude::*;
use sutbot::itc::{Event, Stamp};

use crate::support::{check, config, stamp};

const LEVELS: u32 = 5;
const PLACES: usize = 1 << LEVELS;

/// A tree of the text form for these numbers, which is the normal form of the paper.
fn event_text(numbers: &[u64]) -> String {
    let least = *numbers.iter().min().expect("places");
    if numbers.iter().all(|number| *number == least) {
        return least.to_string();
    }
    let rest: Vec<u64> = numbers.iter().map(|number| number - least).collect();
    let (left, right) = rest.split_at(rest.len() / 2);
    format!("({least},{},{})", event_text(left), event_text(right))
}

fn id_text(owned: &[bool]) -> String {
    if owned.iter().all(|place| *place == owned[0]) {
        return u8::from(owned[0]).to_string();
    }
    let (left, right) = owned.split_at(owned.len() / 2);
    format!("({},{})", id_text(left), id_text(right))
}

fn numbers(event: &Event) -> Vec<u64> {
    fn fill(event: &Event, above: u64, out: &mut [u64]) {
        let above = above + event.base();
        let middle = out.len() / 2;
        match event.children() {
            None => out.fill(above),
            Some((left, right)) => {
                fill(left, above, &mut out[..middle]);
                fill(right, above, &mut out[middle..]);
            }
        }
    }
    let mut out = vec![0; PLACES];
    fill(event, 0, &mut out);
    out
}

/// Numbers with long equal stretches, so that trees are of all shapes.
fn places<T: Clone + std::fmt::Debug + 'static>(
    one: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Vec<T>> {
    let stretch = (one, 1..12_usize);
    proptest::collection::vec(stretch, PLACES).prop_map(|stretches| {
        let all = stretches.into_iter().flat_map(|(one, times)| vec![one; times]);
        all.take(PLACES).collect()
    })
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn order_and_join_are_those_of_the_places(a in places(0..6_u64), b in places(0..6_u64)) {
        let (x, y) = (stamp(&format!("(0,{})", event_text(&a))), stamp(&format!("(0,{})", event_text(&b))));
        check(&x);
        prop_assert_eq!(&numbers(x.events()), &a);
        prop_assert_eq!(x.leq(&y), a.iter().zip(&b).all(|(a, b)| a <= b));
        let most: Vec<u64> = a.iter().zip(&b).map(|(a, b)| *a.max(b)).collect();
        let both = x.join(&y).unwrap();
        check(&both);
        prop_assert_eq!(both.events().to_string(), event_text(&most));
    }

    #[test]
    fn an_event_raises_what_is_owned_and_nothing_else(
        known in places(0..6_u64),
        owned in places(any::<bool>()),
    ) {
        let before = stamp(&format!("({},{})", id_text(&owned), event_text(&known)));
        let Ok(after) = before.event() else {
            prop_assert!(!owned.contains(&true));
            return Ok(());
        };
        check(&after);
        let raised = numbers(after.events());
        prop_assert_eq!(event_text(&raised), after.events().to_string());
        let mut is_new = false;
        for (place, (old, new)) in known.iter().zip(&raised).enumerate() {
            prop_assert!(new >= old && (owned[place] || new == old));
            is_new |= new > old;
        }
        prop_assert!(is_new);
    }

    #[test]
    fn sums_are_those_of_the_places(a in places(any::<bool>()), b in places(any::<bool>())) {
        let (x, y) = (stamp(&format!("({},0)", id_text(&a))), stamp(&format!("({},0)", id_text(&b))));
        let both: Vec<bool> = a.iter().zip(&b).map(|(a, b)| *a || *b).collect();
        let is_disjoint = !a.iter().zip(&b).any(|(a, b)| *a && *b);
        match x.join(&y) {
            Ok(sum) => prop_assert!(is_disjoint && sum.id().to_string() == id_text(&both)),
            Err(_) => prop_assert!(!is_disjoint),
        }
        let rest: Vec<bool> = a.iter().zip(&b).map(|(a, b)| *b && !*a).collect();
        let sum = x.join(&stamp(&format!("({},0)", id_text(&rest)))).unwrap();
        prop_assert_eq!(sum.id().to_string(), id_text(&both));
        let (first, second) = sum.fork().unwrap();
        check(&first);
        prop_assert_eq!(first.join(&second).unwrap(), sum.clone());
        prop_assert!(sum.id().is_zero() || first.join(&sum).is_err());
        let _: &Stamp = &second;
    }
}
