"""The gallery: faces drawn by lot, under each model's heat, with what each model answered."""
