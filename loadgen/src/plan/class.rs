//! The subscriber classes of a plan; results are kept per class. A pure function of the scenario.

use crate::codec::form::{Form, Pace};
use crate::plan::course::Course;
use crate::scenario::groups::{ClassKind, SubscriberGroup};
use crate::scenario::lifecycle::Lifecycle;

/// A named class of subscribers; results are kept per class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassPlan {
    /// The name of the scenario's subscriber group.
    pub name: String,
    /// How its sockets read.
    pub kind: ClassKind,
    /// In which form they get frames.
    pub form: Form,
    /// Which frames they ask for.
    pub pace: Pace,
    /// Whether they offer compression.
    pub deflate: bool,
    /// When they are connected.
    pub lifecycle: Lifecycle,
}

impl ClassPlan {
    /// Healthy raw subscribers of everything that is published.
    pub fn raw(name: &str) -> ClassPlan {
        ClassPlan {
            name: name.to_owned(),
            kind: ClassKind::Healthy,
            form: Form::Raw,
            pace: Pace::default(),
            deflate: false,
            lifecycle: Lifecycle::default(),
        }
    }
}

pub(crate) fn class(group: &SubscriberGroup, course: Course) -> ClassPlan {
    let grows = course.of_subscribers().is_some();
    ClassPlan {
        name: group.name.clone(),
        kind: group.class,
        form: group.form,
        pace: group.pace,
        deflate: group.deflate,
        lifecycle: Lifecycle { grows, ..group.lifecycle },
    }
}
