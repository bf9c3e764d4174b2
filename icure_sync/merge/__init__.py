"""Revision trees and causal registers: what concurrent revisions come to."""
