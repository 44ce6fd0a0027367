"""The four screens, help, and small dialogs."""
