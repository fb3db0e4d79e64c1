"""The command `nf-li`: officers, and the processes of lawful intercept."""
