use super::events::{Event, Events};
use super::{Array, ArrayError, Dimension, MAX_DIMENSIONS, MAX_ELEMENTS};

/// Parses an array's text: what the server prints, or a literal. A literal that only some
/// versions of the server accept (`{{}}`) is an error.
pub fn parse(text: &str) -> Result<Array<'_>, ArrayError> {
    let mut events = Events::new(text)?;
    let mut elements = Vec::new();
    // Of each depth: the length of the first array, and of the one that is read now.
    let mut lengths = [None; MAX_DIMENSIONS];
    let mut counts = [0_usize; MAX_DIMENSIONS];
    loop {
        // The depth of the array that the event's element or sub-array belongs to.
        let outer = events.depth();
        match events.next()? {
            Event::Open => {
                count(&mut counts, outer);
                if let Some(inner) = counts.get_mut(outer) {
                    *inner = 0;
                }
            }
            Event::Element(element) => {
                count(&mut counts, outer);
                if elements.len() == MAX_ELEMENTS {
                    return Err(ArrayError::Size);
                }
                elements.push(element.text());
            }
            Event::Close => {
                let depth = events.depth();
                if let (Some(length), Some(count)) = (lengths.get_mut(depth), counts.get(depth))
                    && *length.get_or_insert(*count) != *count
                {
                    return Err(ArrayError::Ragged {
                        offset: events.position() - 1,
                    });
                }
            }
            Event::End => break,
        }
    }
    let lengths = lengths.iter().flatten().copied();
    let mut dimensions: Vec<_> = lengths
        .zip(events.bounds)
        .map(|(length, (lower_bound, _))| Dimension {
            lower_bound,
            length,
        })
        .collect();
    if elements.is_empty() {
        dimensions.clear();
    }
    if events.bounded > 0 {
        let upper = |dim: &Dimension| i64::from(dim.lower_bound) + dim.length as i64 - 1;
        let matches = dimensions.len() == events.bounded
            && (dimensions.iter().zip(events.bounds))
                .all(|(dim, bounds)| upper(dim) == i64::from(bounds.1));
        if !matches {
            return Err(ArrayError::BoundsMismatch);
        }
    }
    Ok(Array {
        dimensions,
        elements,
    })
}

/// Counts an item of the array at `depth`, which is 0 outside of all braces.
fn count(counts: &mut [usize; MAX_DIMENSIONS], depth: usize) {
    if let Some(count) = depth.checked_sub(1).and_then(|index| counts.get_mut(index)) {
        *count += 1;
    }
}
