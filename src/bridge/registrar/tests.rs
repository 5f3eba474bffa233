mod node;
mod races;
mod rules;
mod simulation;
