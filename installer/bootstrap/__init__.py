"""The bootstrap: its plan, mirrors, engines and cache."""
