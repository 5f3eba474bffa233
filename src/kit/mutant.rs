//! Deliberate defects, one of which a test may switch on for its own thread, to show that the simulation finds it.
//!
//! Owns their names. Outside of tests and the simulation there are none: [`Mutant::is_on`] is then false when compiled, and
//! costs nothing.

/// Names each defect once.
macro_rules! mutants {
    (node { $($name:ident)* } fleet { $($of_fleet:ident)* } queue { $($of_queue:ident)* }) => {
        /// A defect that somebody could make. Each is one condition in the code.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "the names say it, and the places where they stand")]
        pub enum Mutant {
            $($name,)*
            $($of_fleet,)*
            $($of_queue,)*
        }

        impl Mutant {
            /// Every defect that a node has by itself.
            pub const OF_NODE: &[Mutant] = &[$(Mutant::$name),*];
            /// Every defect that it takes several nodes to notice.
            pub const OF_FLEET: &[Mutant] = &[$(Mutant::$of_fleet),*];
            /// Every defect of those who take messages from the queue.
            pub const OF_QUEUE: &[Mutant] = &[$(Mutant::$of_queue),*];
        }
    };
}

mutants! {
    node {
        TimerArmedTwice
        TimerOutlivesItsConnection
        GenerationNotChecked
        RecordOfAnotherRemoved
        RecordNotRemoved
        LentIdly
        OutboxWithoutLimit
        BuffersWithoutLimit
        UserLimitForgotten
        PlaceNotGivenBack
        AddressNotGivenBack
        BucketNotGivenBack
        CloseNotCounted
        GoawayTwice
        LifetimeForgotten
        GraceForgotten
        TokenEndForgotten
        HandshakeTimeoutForgotten
        VerdictTimeoutForgotten
        VerdictCountsTwice
        VerdictDespiteDrain
        WaitingWithoutLimit
        RestAfterTokenForgotten
        TokenTimeoutForgotten
        CloseTimeoutForgotten
        PingForgotten
        DeadPeerKept
        DisplacedNotClosed
        DisplacedLetterLost
        MessageAfterClose
        ControlCutsIn
        BegunMessageBeginsAnew
        BegunMessageReplaced
        BegunMessageDropped
        LateMessageStillWritten
        LateSenderNotTold
        RoomNotAskedFor
        UnreadForgotten
        AcceptPausedForEver
        DrainForgetsSome
        BroadcastForgetsSome
        SweepNotWaitedFor
        LastChunkForgotten
    }
    fleet {
        AbsenceBelievedWhileFrozen
        AbsenceKept
        AgeIgnored
        ChangeLostWhenFull
        DepartureNotTold
        DisplacedNotTold
        HealForgetsSome
        LackingKept
        LeaseNeverEnds
        LossNotHealed
        RouteKeptThoughWrong
        UserOfPeerNotChecked
    }
    queue {
        AbandonedCounted
        DeadLetterForgotten
        DoneBeforeOutcome
        DoneBeforeReport
        ExpiredStillLookedUp
        LeftAtOnce
        LeftIsDone
        LineForgotten
        NobodyNotTold
        OrderIgnored
        OtherTermCounts
        ParkForgotten
        RefusedReportStillOwed
        ReleasedForgotten
        ReleasedTooEarly
        ReportLostWhenFull
        RetryForgotten
        RetryWithoutEnd
        RevokedNotLeft
        RoomNotGivenBack
        StuckForgotten
    }
}

#[cfg(any(test, feature = "sim"))]
mod switch {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    impl Mutant {
        /// Whether this thread runs with this defect.
        pub fn is_on(self) -> bool {
            ON.get() == Some(self)
        }

        /// Runs with this defect for as long as `run` takes.
        pub fn with<R>(self, run: impl FnOnce() -> R) -> R {
            let _off = Off;
            ON.set(Some(self));
            run()
        }
    }

    /// Switches the defect off, also when a panic unwinds.
    struct Off;

    impl Drop for Off {
        fn drop(&mut self) {
            ON.set(None);
        }
    }
}

#[cfg(not(any(test, feature = "sim")))]
impl Mutant {
    /// Never: there are no defects here that we know of.
    #[inline(always)]
    pub const fn is_on(self) -> bool {
        false
    }
}
