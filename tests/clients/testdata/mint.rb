# Prints two tokens.
require 'json'
require_relative 'recipe'

given = JSON.parse(ENV['TEST_USER'])
User = Struct.new(:id, :email, :name, :email_verified)
user = User.new(given['id'], given['email'], given['name'], given['emailVerified'])
raise 'a token for nobody' unless vouchsafe_token(nil)[0] == 401
puts vouchsafe_token(user)[2][0]
puts visitor_token(user)
