//! A made-up world of targets, names and sockets, and a shell that dials in it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::decide::dialling::*;
use crate::decide::faults::ConnectCause;
use crate::decide::ticks::Tick;

/// What becomes of one address.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Opens(Tick),
    Fails(Tick, ConnectCause),
    /// It opens and breaks at once: nobody looks in between. True where it has sent something.
    Breaks(Tick, ConnectCause, bool),
    Silent,
}

/// What becomes of a lookup.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lookup {
    Known,
    After(Tick),
    Unresolved(Tick, bool),
    Never,
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    /// None: the target is an address.
    pub(super) name: Option<Lookup>,
    pub(super) fates: Vec<Fate>,
    pub(super) gone: Option<Tick>,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) targets: Vec<Model>,
    pub(super) each: Duration,
    pub(super) start: Tick,
    pub(super) is_flow: bool,
    /// When the client is gone, and whether it has sent something before.
    pub(super) client_gone: Option<(Tick, bool)>,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// An answer, and the target that it is for.
    Addresses(u8),
    Unresolved(u8, bool),
    Opened(Lane, usize),
    Failed(Lane, usize, ConnectCause),
    Broken(Lane, usize, ConnectCause, bool),
    Gone(usize),
    ClientGone(bool),
}

/// Everything that was done.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) steps: Vec<(Tick, u8, Do)>,
    /// Failures that the world caused, and time-outs, in order.
    pub(super) caused: Vec<ConnectCause>,
    pub(super) most_open: usize,
    pub(super) left_open: usize,
    pub(super) served: Option<Lane>,
    /// The socket whose target sent something before it broke.
    pub(super) sent: Option<Lane>,
    pub(super) end: Tick,
}

pub(super) fn address(target: usize, index: usize) -> SocketAddr {
    ([10, 0, target as u8, index as u8], 80).into()
}

struct Run<'w> {
    world: &'w World,
    now: Tick,
    dialling: Dialling,
    events: BTreeMap<(Tick, usize), Event>,
    /// Attempts by lane, numbered.
    open: [Option<usize>; 2],
    attempts: usize,
    log: Log,
}

impl<'w> Run<'w> {
    fn new(world: &'w World) -> Self {
        let terms = DialTerms { targets: world.targets.len(), first: 0, each: world.each, is_flow: world.is_flow };
        Self {
            world,
            now: world.start,
            dialling: Dialling::new(terms, world.start),
            events: BTreeMap::new(),
            open: [None; 2],
            attempts: 0,
            log: Log::default(),
        }
    }

    fn plan(&mut self, after: Tick, event: Event) {
        let number = self.events.len() + 1000 * self.attempts;
        self.events.insert((self.now + after, number), event);
    }

    fn target(&self) -> &'w Model {
        &self.world.targets[usize::from(self.dialling.step())]
    }

    fn approach(&self) -> Heard {
        let target = self.target();
        match target.name {
            _ if target.gone.is_some_and(|gone| self.world.start + gone <= self.now) => Heard::Gone,
            None => Heard::Address(address(self.dialling.step().into(), 0)),
            Some(_) => Heard::Name,
        }
    }

    fn addresses(&self) -> Heard {
        let step = usize::from(self.dialling.step());
        match self.target().fates.len() {
            1 => Heard::Address(address(step, 0)),
            count => Heard::Addresses((0..count).map(|index| address(step, index)).collect()),
        }
    }

    fn hear(&mut self, heard: Heard) {
        let mut next = Some(heard);
        while let Some(heard) = next.take() {
            let step = self.dialling.step();
            let is_tick = heard == Heard::Tick;
            for answer in self.dialling.hear(heard, self.now) {
                assert!(next.is_none(), "only the last step of an answer is followed by an event");
                self.log.steps.push((self.now, step, answer));
                next = self.carry_out(answer, is_tick);
            }
        }
    }

    fn carry_out(&mut self, answer: Do, is_tick: bool) -> Option<Heard> {
        match answer {
            Do::Approach(_) => return Some(self.approach()),
            Do::LookUp => match self.target().name.expect("a name") {
                Lookup::Known => return Some(self.addresses()),
                Lookup::After(after) => self.plan(after, Event::Addresses(self.dialling.step())),
                Lookup::Unresolved(after, is_verdict) => {
                    self.plan(after, Event::Unresolved(self.dialling.step(), is_verdict));
                }
                Lookup::Never => {}
            },
            Do::Connect(lane, to) => {
                assert!(self.open[lane as usize].is_none(), "a socket is closed before it is used again");
                let std::net::IpAddr::V4(ip) = to.ip() else { panic!("an IPv4 address") };
                self.attempts += 1;
                let number = self.attempts;
                match self.target().fates[usize::from(ip.octets()[3])] {
                    Fate::Fails(0, cause) => {
                        self.log.caused.push(cause);
                        return Some(Heard::Failed(lane, cause));
                    }
                    Fate::Opens(0) => {
                        self.occupy(lane, number);
                        return Some(Heard::Opened(lane));
                    }
                    Fate::Opens(after) => self.plan(after, Event::Opened(lane, number)),
                    Fate::Fails(after, cause) => self.plan(after, Event::Failed(lane, number, cause)),
                    Fate::Breaks(after, cause, has_sent) => {
                        self.plan(after, Event::Broken(lane, number, cause, has_sent));
                    }
                    Fate::Silent => {}
                }
                self.occupy(lane, number);
            }
            Do::Close(lane) => {
                let was_open = self.open[lane as usize].take().is_some();
                if is_tick && was_open {
                    self.log.caused.push(ConnectCause::Timeout);
                }
            }
            Do::Serve(lane) => self.log.served = Some(lane),
            Do::Count(_) | Do::Tell(_) | Do::Defer(_) | Do::Trust(_) | Do::GiveUp | Do::Abandon => {}
        }
        None
    }

    fn occupy(&mut self, lane: Lane, number: usize) {
        self.open[lane as usize] = Some(number);
        self.log.most_open = self.log.most_open.max(self.open.iter().flatten().count());
    }

    fn happen(&mut self, event: Event) {
        let is_open = |lane: Lane, number| self.open[lane as usize] == Some(number);
        match event {
            Event::Addresses(step) if step == self.dialling.step() => self.hear(self.addresses()),
            Event::Unresolved(step, is_verdict) if step == self.dialling.step() => {
                self.hear(Heard::Unresolved { is_verdict });
            }
            Event::Opened(lane, number) if is_open(lane, number) => self.hear(Heard::Opened(lane)),
            Event::Failed(lane, number, cause) if is_open(lane, number) => {
                self.log.caused.push(cause);
                self.hear(Heard::Failed(lane, cause));
            }
            Event::Broken(lane, number, cause, has_sent) if is_open(lane, number) => {
                if has_sent {
                    self.log.sent = Some(lane);
                } else {
                    self.log.caused.push(cause);
                }
                self.hear(Heard::Broken { lane, cause, has_sent });
            }
            Event::ClientGone(has_sent) => self.hear(Heard::ClientGone { has_sent }),
            Event::Gone(target) if usize::from(self.dialling.step()) == target => self.hear(Heard::Gone),
            _ => {}
        }
    }

    fn finish(mut self) -> Log {
        for (index, gone) in
            self.world.targets.iter().enumerate().filter_map(|(index, model)| Some((index, model.gone?)))
        {
            self.events.insert((self.world.start + gone, usize::MAX - index), Event::Gone(index));
        }
        if let Some((gone, has_sent)) = self.world.client_gone {
            // Targets that go at the same time are withdrawn afterwards.
            self.events.insert((self.world.start + gone, usize::MAX / 2), Event::ClientGone(has_sent));
        }
        self.hear(self.approach());
        while !self.dialling.is_over() {
            let due = self.dialling.due().expect("something is waited for");
            if let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= due) {
                self.now = self.now.max(entry.key().0);
                let event = entry.remove();
                self.happen(event);
            } else {
                self.now = self.now.max(due);
                self.hear(Heard::Tick);
            }
        }
        self.log.end = self.now;
        self.log.left_open = self.open.iter().flatten().count();
        self.log
    }
}

pub(super) fn run(world: &World) -> Log {
    Run::new(world).finish()
}

fn cause() -> impl Strategy<Value = ConnectCause> {
    prop::sample::select(ConnectCause::ALL.to_vec())
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        (0_u64..300).prop_map(Fate::Opens),
        (0_u64..300, cause()).prop_map(|(after, cause)| Fate::Fails(after, cause)),
        (0_u64..300, any::<bool>()).prop_map(|(after, has_sent)| Fate::Breaks(after, ConnectCause::Reset, has_sent)),
        Just(Fate::Fails(0, ConnectCause::Refused)),
        Just(Fate::Silent),
    ]
}

fn model() -> impl Strategy<Value = Model> {
    let lookup = prop_oneof![
        Just(Lookup::Known),
        (0_u64..300).prop_map(Lookup::After),
        (0_u64..300, any::<bool>()).prop_map(|(after, is_verdict)| Lookup::Unresolved(after, is_verdict)),
        Just(Lookup::Never),
    ];
    let gone = prop::option::weighted(0.2, 0_u64..400);
    (prop::option::of(lookup), prop::collection::vec(fate(), 1..7), gone).prop_map(|(name, mut fates, gone)| {
        if name.is_none() {
            fates.truncate(1);
        }
        Model { name, fates, gone }
    })
}

pub(super) fn world() -> impl Strategy<Value = World> {
    let each = (100_u64..9000).prop_map(Duration::from_millis);
    let client_gone = prop::option::weighted(0.3, (0_u64..700, any::<bool>()));
    (prop::collection::vec(model(), 1..5), each, 0_u64..1000, client_gone)
        .prop_map(|(targets, each, start, client_gone)| World { targets, each, start, is_flow: false, client_gone })
}
